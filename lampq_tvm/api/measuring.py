"""`measure` and `tune`: what kernels cost on a device, and how to make them cost less."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from lampq_tvm.api.caching import at_work
from lampq_tvm.api.latencies import database, measured_table, open_gpu
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import UsageError
from lampq_tvm.latency.table import LatencyTable


def measure(model: str | Path, *, output: str | Path | None = None, **options: Any) -> LatencyTable:
    """Build each distinct kernel of a model at every pair of widths and time it on a device.

    Args:
        model: a timm name, a `.pt2` or an `.onnx`.
        output: the JSON table to write, if any.
        **options: fields of `Options`; `device` is this machine where it is not given.

    Raises:
        DeviceError: the device cannot be reached.
    """
    return measure_pipeline(Pipeline(Options(model=str(model), **options)), None if output is None else Path(output))


@at_work()
def measure_pipeline(pipeline: Pipeline, output: Path | None) -> LatencyTable:
    """Check the request, measure, write the table."""
    pipeline.check(output)
    table = measured_table(pipeline)
    if output is not None:
        table.save(output)
    return table


def tune(model: str | Path, *, plan: str | Path | None = None, **options: Any) -> Path:
    """Search for fast schedules of the kernels that a model's plan needs.

    Args:
        model: a timm name, a `.pt2` or an `.onnx`.
        plan: a plan made before; without it the options' budgets decide.
        **options: fields of `Options`; `trials` counts per kernel.

    Returns:
        The database of records; `compile` finds it.
    """
    return tune_pipeline(Pipeline(Options(model=str(model), **options), None if plan is None else Path(plan)))


@at_work()
def tune_pipeline(pipeline: Pipeline) -> Path:
    """Tune the kernels of the request's plan; records are added to the cache's database."""
    o = pipeline.options
    if not o.trials:
        raise UsageError("0 trials", where="--trials", hint="give 1 or more")
    pipeline.check()
    if pipeline.target.kind == "cuda":
        return _tune_cuda(pipeline)
    from lampq_tvm.tune.run import tune as tune_kernels

    return tune_kernels(
        pipeline.quantized,
        pipeline.target,
        trials=o.trials,
        device=find_device(o.device),
        batch=o.batch,
        seed=o.seed,
        database=database(),
    )


def _tune_cuda(pipeline: Pipeline) -> Path:
    """Tune on this machine's GPU, every batch size that an artifact holds kernels for."""
    o, target = pipeline.options, pipeline.target
    open_gpu(o, target).close()  # before any work
    from lampq_tvm.compiler.cuda.build import buckets
    from lampq_tvm.tune.cuda.search import tune_cuda
    from lampq_tvm.tune.cuda.tunable import tunables

    found = {kernel.key: kernel for size in buckets(o.batch) for kernel in tunables(pipeline.quantized, target.isa, size)}
    opener = functools.partial(open_gpu, o, target)
    with find_device(o.device).alone():
        return tune_cuda(list(found.values()), target, opener, trials=o.trials, seed=o.seed, database=database())
