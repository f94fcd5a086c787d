"""`measure` and `tune`: what kernels cost on a device, and how to make them cost less."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampq_tvm.api.checks import runs_here
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.errors import DeviceError, UsageError
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.store import Units, cache_dir
from lampq_tvm.targets import Target, check_runs_here

if TYPE_CHECKING:
    from lampq_tvm.runtime.cuda.driver import Driver
    from lampq_tvm.tune.records import Records


def measure(model: str | Path, *, output: str | Path | None = None, **options: Any) -> LatencyTable:
    """Build each distinct kernel of a model at every pair of widths and time it on a device.

    Args:
        model: a timm name, a `.pt2` or an `.onnx`.
        output: the JSON table to write, if any.
        **options: fields of `Options`; `device` is `local` where it is not given.

    Raises:
        DeviceError: the device cannot be reached.
    """
    return measure_pipeline(Pipeline(Options(model=str(model), **options)), None if output is None else Path(output))


def measure_pipeline(pipeline: Pipeline, output: Path | None) -> LatencyTable:
    """Check the request, measure, write the table."""
    pipeline.check(output)
    table = measured_table(pipeline)
    if output is not None:
        table.save(output)
    return table


def measured_table(pipeline: Pipeline) -> LatencyTable:
    """Latencies on the device that is named, from the cache where it can be.

    Where none is named, this machine is measured; a target that does not run here is emulated when estimates are allowed.
    """
    from lampq_tvm.latency.measure import measure as measure_kernels

    o, target = pipeline.options, pipeline.target
    if target.kind == "cuda":
        return _cuda_table(pipeline)
    device = o.device or ("emulated" if o.allow_estimates and not runs_here(target) else "local")
    if device == "local":
        check_runs_here(target.kind, target.features)
    records = tuned_records()
    figures = estimating(target) if device == "emulated" else None
    key = (target.name, target.tvm, device, o.batch, o.threads or 0, records.digest(target.isa), figures)
    folder = pipeline.cache.folder("latency", pipeline.calibration_key, *key)

    def compute() -> LatencyTable:
        units = Units(folder / "units")
        return measure_kernels(
            pipeline.calibration, target, device, batch=o.batch, threads=o.threads, units=units, tiles=records
        )

    return pipeline.cache.get(
        folder,
        "latency.json",
        lambda path: LatencyTable.load(path / "latency.json"),
        compute,
        lambda path, table: table.save(path / "latency.json"),
    )


def open_gpu(options: Options, target: Target) -> Driver:
    """This machine's GPU, where it is what a target wants.

    Raises:
        DeviceError: another device was asked for, there is no GPU, or it is another one.
    """
    from lampq_tvm.runtime.cuda.driver import Driver

    if options.device not in (None, "local"):
        what = f"CUDA kernels cannot be measured on {options.device} yet"
        raise DeviceError(what, where="--device", hint="run it on the board, or plan with --allow-estimates")
    gpu = Driver()
    if gpu.arch != target.isa:
        gpu.close()
        raise DeviceError(f"this GPU is {gpu.arch}, not {target.isa}", where=target.name, hint="plan with --allow-estimates")
    return gpu


def _tune_cuda(pipeline: Pipeline) -> Path:
    """Tune on this machine's GPU, every batch size that an artifact holds kernels for."""
    o, target = pipeline.options, pipeline.target
    open_gpu(o, target).close()  # before any work
    from lampq_tvm.build.cuda.compiler import buckets
    from lampq_tvm.tune.cuda.search import tune_cuda
    from lampq_tvm.tune.cuda.tunable import tunables

    found = {kernel.key: kernel for size in buckets(o.batch) for kernel in tunables(pipeline.quantized, target.isa, size)}
    opener = functools.partial(open_gpu, o, target)
    return tune_cuda(list(found.values()), target, opener, trials=o.trials, seed=o.seed, database=database())


def _cuda_table(pipeline: Pipeline) -> LatencyTable:
    """Latencies on this machine's GPU, or from the board's figures where estimates are allowed and none is at hand."""
    from lampq_tvm.latency.cuda import cuda_table
    from lampq_tvm.tune.cuda.records import CudaRecords

    o, target = pipeline.options, pipeline.target
    on_paper = o.device is None and o.allow_estimates and not runs_here(target)
    records = CudaRecords(target.isa, database())
    gpu = None if on_paper else open_gpu(o, target)
    try:
        figures = target.board.model_dump() if gpu is None and target.board else None
        key = (target.name, gpu and gpu.name, o.batch, o.attention_bits, figures, records.digest())
        folder = pipeline.cache.folder("latency", pipeline.calibration_key, *key)

        def compute() -> LatencyTable:
            units = Units(folder / "units")
            more = {"batch": o.batch, "attention_bits": o.attention_bits}
            return cuda_table(pipeline.calibration, target, units=units, gpu=gpu, records=records, **more)

        load = LatencyTable.load
        path = "latency.json"
        return pipeline.cache.get(folder, path, lambda f: load(f / path), compute, lambda f, table: table.save(f / path))
    finally:
        if gpu is not None:
            gpu.close()


def estimating(target: Target) -> tuple[Any, ...]:
    """What turns instruction counts into estimates: the board's figures and its core's."""
    from lampq_tvm.device.cost import core_of

    core = core_of(target.board)
    return target.board and target.board.model_dump(), core and core.digest


def tuned_records() -> Records:
    """The user's records first, then the shipped ones."""
    from lampq_tvm.tune.records import Records

    return Records(database())


def database() -> Path:
    """The user's tuning records."""
    return cache_dir() / "tuning"


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
        device=o.device or "local",
        batch=o.batch,
        seed=o.seed,
        database=database(),
    )
