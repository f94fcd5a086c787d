"""Latency tables for GPUs: kernels timed by the device's own clock, or estimated for a board that is only on paper."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.calibration import WIDTHS, Calibration
from lampq_tvm.compiler.cuda.build import CompiledKernel, compile_kernels
from lampq_tvm.device.clocks import clock_mhz
from lampq_tvm.device.cuda.gpu import Gpu
from lampq_tvm.device.times import MEASURED, added
from lampq_tvm.errors import DeviceError, UnsupportedError
from lampq_tvm.kinds import PLAN_FLOAT_BITS
from lampq_tvm.latency.bench import SAMPLES
from lampq_tvm.latency.paper import Counted, counted, on_paper
from lampq_tvm.latency.table import LatencyTable, LayerLatency, Timing
from lampq_tvm.latency.work import at_widths
from lampq_tvm.lower.cuda.launch import Launch
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.lower.cuda.support import check_cuda_attention
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.progress import track
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.records.cuda import CudaRecords
from lampq_tvm.store import Units
from lampq_tvm.targets import Target

REPEATS = 20  # launches of a kernel in a sample, so that the clock's resolution does not show


@dataclass(frozen=True)
class CudaWork:
    """Kernels to time.

    Attributes:
        layers: layer -> (w, a) -> kernel name.
        fixed: value -> kernel name, for launches that no plan changes.
        launches: kernel name -> a launch of it.
        half: kernel names of the network in float16, one for each of its launches; () where it does not fit the GPU.
    """

    layers: dict[str, dict[tuple[int, int], str]]
    fixed: dict[str, str]
    launches: dict[str, Launch]
    half: tuple[str, ...] = ()


def cuda_work(
    qm: QuantizedModel,
    arch: str,
    batch: int,
    half: QuantizedModel | None = None,
    records: CudaRecords | None = None,
    fits: bool = True,
) -> CudaWork:
    """The work for a network: any plan of it has the same shapes, only the widths differ.

    `half` is the network with every layer in float16: its products are timed beside those of codes, all of it is the baseline
    where it `fits` the GPU.
    """
    work = CudaWork({row.name: {} for row in qm.plan.layers}, {}, {})
    for w_bits, a_bits in itertools.product(WIDTHS, WIDTHS):
        launches = lower_cuda(at_widths(qm, w_bits, a_bits), arch, batch, records).launches
        products = [launch for launch in launches if "W" in launch.params]
        for row, launch in zip(qm.plan.layers, products, strict=True):
            if not row.reads_image or a_bits == 8:
                work.layers[row.name][w_bits, a_bits] = launch.kernel
        work.fixed.update({x.out[1].name: x.kernel for x in launches if "W" not in x.params})
        work.launches.update({launch.kernel: launch for launch in launches})
    if half is None:
        return work
    launches = lower_cuda(half, arch, batch, records).launches
    products = [launch for launch in launches if "W" in launch.params]
    for row, launch in zip(half.plan.layers, products, strict=True):
        work.layers[row.name][row.w_bits, row.a_bits] = launch.kernel
    work.launches.update({launch.kernel: launch for launch in (launches if fits else products)})
    return dataclasses.replace(work, half=tuple(launch.kernel for launch in launches)) if fits else work


def half_fits(model: ImportedModel, arch: str) -> bool:
    """Whether a GPU runs all of a model in float16."""
    try:
        check_cuda_attention(model, arch, half=True)
    except UnsupportedError:
        return False
    return True


def cuda_table(
    calibration: Calibration,
    target: Target,
    *,
    units: Units,
    batch: int = 1,
    attention_bits: int = 8,
    gpu: Gpu | None = None,
    records: CudaRecords | None = None,
) -> LatencyTable:
    """Times of every layer at every pair of widths, and in float16.

    Args:
        calibration: of the model.
        target: what to compile for.
        units: keeps finished kernels, so that a killed run goes on.
        batch: images per call; times are per call.
        attention_bits: width of attention beside layers of codes.
        gpu: where kernels are measured; None estimates them from the figures of the target's board.
        records: sizes of the kernels; the shipped ones where None.

    Raises:
        DeviceError: the board's file lacks a figure, or the device fails.
    """
    pairs = ((8, attention_bits), (PLAN_FLOAT_BITS, PLAN_FLOAT_BITS))
    plans = [uniform_plan(calibration.model, bits, bits, attention) for bits, attention in pairs]
    codes, half = (quantize(calibration, plan) for plan in plans)
    work = cuda_work(codes, target.isa, batch, half, records, half_fits(calibration.model, target.isa))
    if gpu is None:
        if target.board is None:
            raise DeviceError("there are no figures to estimate from", where=target.name)
        times = {name: _on_paper(work.launches[name], target, units) for name in track(sorted(work.launches), "kernels")}
    else:
        kernels = compile_kernels(work.launches.values(), target.isa, target.cuda_major or 0)
        times = {}
        for name in track(sorted(kernels), "kernels"):
            samples = units.get(name, _sampler(gpu, kernels[name], work.launches[name]))["ms"]
            times[name] = MEASURED.of(samples)
    clocks = None if gpu is None else gpu.clocks()
    return LatencyTable(
        target=target.name,
        device="on paper" if gpu is None else gpu.name,
        threads=1,
        layers=tuple(
            LayerLatency(name=layer, pairs={f"{w}/{a}": times[kernel] for (w, a), kernel in pairs.items()})
            for layer, pairs in work.layers.items()
        ),
        fixed={value: times[kernel] for value, kernel in work.fixed.items()},
        float_ms=added([(times[kernel], 1) for kernel in work.half]) if work.half else None,
        clocks_mhz=clock_mhz(clocks),
        notes={} if clocks is None else {"clocks": clocks},
    )


def _on_paper(launch: Launch, target: Target, units: Units) -> Timing:
    """An estimate of a kernel, whose instructions are counted once."""
    assert target.board is not None

    def count() -> dict[str, np.ndarray]:
        return {name: np.array(value) for name, value in vars(counted(launch, target)).items()}

    found = units.get(f"count of {launch.kernel}", count)
    x, y, z = found["grid"].tolist()
    return on_paper(launch, Counted((x, y, z), float(found["instructions"])), target.board)


def _sampler(gpu: Gpu, kernel: CompiledKernel, launch: Launch) -> Callable[[], dict[str, np.ndarray]]:
    """Measures a kernel on random bytes; floats and indices are zeros, so that no value is unusual and none leads astray."""

    def measure() -> dict[str, np.ndarray]:
        shared = kernel.kernel.shared_bytes
        function = gpu.function(gpu.load(kernel.cubin), kernel.entry, shared)
        addresses = [_filled(gpu, size, dtype) for size, dtype in kernel.buffers]
        grid, block = kernel.kernel.grid, kernel.kernel.block

        def run() -> None:
            for _ in range(REPEATS):
                gpu.launch(function, grid, block, shared, addresses)

        graph = gpu.capture(run)
        samples = [1e3 * gpu.seconds(lambda: gpu.replay(graph)) / REPEATS for _ in range(SAMPLES + 3)]
        return {"ms": np.array(samples[3:])}

    return measure


def _filled(gpu: Gpu, size: int, dtype: str) -> int:
    address = gpu.allocate(size)
    plain = dtype in ("float32", "int32")
    filler = np.zeros(size, np.uint8) if plain else np.random.default_rng(0).integers(0, 256, size, np.uint8)
    gpu.upload(address, filler)
    return address
