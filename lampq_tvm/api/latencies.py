"""Latencies of a request's layers: measured on a device, counted on an emulated one, or estimated on paper."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from lampq_tvm.api.checks import runs_here
from lampq_tvm.api.options import Options
from lampq_tvm.api.stages import Stages
from lampq_tvm.compiler.toolchain import toolchain
from lampq_tvm.device.kinds import HERE, PLAYED, find_device
from lampq_tvm.errors import DeviceError, UnsupportedError
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.store import Units, cache_dir
from lampq_tvm.targets import Target

if TYPE_CHECKING:
    from lampq_tvm.device.cuda.gpu import Gpu
    from lampq_tvm.records.cpu import Records


def measured_table(stages: Stages) -> LatencyTable:
    """Latencies on the device that is named, from the cache where it can be.

    Where none is named, this machine is measured; a target that does not run here is emulated when estimates are allowed.
    """
    from lampq_tvm.latency.measure import measure as measure_kernels

    o, target = stages.options, stages.target
    if target.kind == "cuda":
        return _cuda_table(stages)
    device = find_device(o.device or (PLAYED if o.allow_estimates and not runs_here(target) else HERE))
    records = tuned_records()
    with contextlib.nullcontext() if device.here else device.alone():  # a board serves one session at a time
        place = [*device.identity(target), toolchain(target)]
    key = (target.identity, place, o.batch, o.threads or target.cores, records.digest(target.isa))
    folder = stages.cache.folder("latency", stages.calibration_key, *key)

    def compute() -> LatencyTable:
        units = Units(folder / "units")
        return measure_kernels(stages.calibration, target, device, batch=o.batch, threads=o.threads, units=units, tiles=records)

    return stages.cache.file(folder, "latency.json", LatencyTable, compute)


def open_gpu(options: Options, target: Target) -> Gpu:
    """This machine's GPU, where it is what a target wants.

    Raises:
        DeviceError: another device was asked for, there is no GPU, or it is another one.
    """
    device = find_device(options.device)
    try:
        gpu = device.gpu()
    except UnsupportedError as e:
        what = f"CUDA kernels cannot be measured on {device.name} yet"
        raise DeviceError(what, where="--device", hint="run it on the board, or plan with --allow-estimates") from e
    if gpu.arch != target.isa:
        gpu.close()
        raise DeviceError(f"this GPU is {gpu.arch}, not {target.isa}", where=target.name, hint="plan with --allow-estimates")
    return gpu


def _cuda_table(stages: Stages) -> LatencyTable:
    """Latencies on this machine's GPU, or from the board's figures where estimates are allowed and none is at hand."""
    from lampq_tvm.latency.cuda import cuda_table
    from lampq_tvm.records.cuda import CudaRecords

    o, target, device = stages.options, stages.target, find_device(stages.options.device)
    on_paper = o.device is None and o.allow_estimates and not runs_here(target)
    records = CudaRecords(target.isa, database())
    gpu = None if on_paper else open_gpu(o, target)
    try:
        place = [gpu and [gpu.name, *device.identity(target)], toolchain(target)]
        key = (target.identity, place, o.batch, o.attention_bits, records.digest())
        folder = stages.cache.folder("latency", stages.calibration_key, *key, gpu=True)

        def compute() -> LatencyTable:
            units, calibration = Units(folder / "units"), stages.calibration
            more = {"batch": o.batch, "attention_bits": o.attention_bits}
            with contextlib.nullcontext() if gpu is None else device.alone():
                return cuda_table(calibration, target, units=units, gpu=gpu, records=records, **more)

        return stages.cache.file(folder, "latency.json", LatencyTable, compute)
    finally:
        if gpu is not None:
            gpu.close()


def tuned_records() -> Records:
    """The user's records first, then the shipped ones."""
    from lampq_tvm.records.cpu import Records

    return Records(database())


def database() -> Path:
    """The user's tuning records."""
    return cache_dir() / "tuning"
