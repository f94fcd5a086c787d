"""`measure` and `tune`: what kernels cost on a device, and how to make them cost less."""

from __future__ import annotations

import functools
from pathlib import Path

from lampq_tvm.api.caching import at_work
from lampq_tvm.api.latencies import database, measured_table, open_gpu
from lampq_tvm.api.methods import timed_for
from lampq_tvm.api.option import taking
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.requests import MeasureRequest, TuneRequest
from lampq_tvm.device.kinds import find_device
from lampq_tvm.latency.table import LatencyTable


@taking(MeasureRequest)
def measure(request: MeasureRequest) -> LatencyTable:
    """Build each distinct kernel of a model at every pair of widths and time it on a device, this machine where none is given.

    Raises:
        DeviceError: the device cannot be reached.
    """
    return measure_pipeline(Pipeline(Options.of(request)), request.output)


@at_work()
def measure_pipeline(pipeline: Pipeline, output: Path | None) -> LatencyTable:
    """Check the request, measure, write the table."""
    pipeline.check(output)
    table = timed_for(measured_table(pipeline), pipeline.options)
    if output is not None:
        table.save(output)
    return table


@taking(TuneRequest)
def tune(request: TuneRequest) -> Path:
    """Search for fast schedules of the kernels that a model's plan needs; without a plan the budgets decide.

    Returns:
        The database of records; `compile` finds it.
    """
    return tune_pipeline(Pipeline(Options.of(request), request.plan))


@at_work()
def tune_pipeline(pipeline: Pipeline) -> Path:
    """Tune the kernels of the request's plan; records are added to the cache's database."""
    o = pipeline.options
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
        threads=o.threads,
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
