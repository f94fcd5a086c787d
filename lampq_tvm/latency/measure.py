"""Measures a model's latency table: each distinct kernel once, the whole 8/8 model and the float model beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.compiler.build import compile_library, payload
from lampq_tvm.device.count import counting_session
from lampq_tvm.device.rpc import Session
from lampq_tvm.latency.bench import SAMPLES, CountedBench, KernelBench, estimated_ms, open_device, timing
from lampq_tvm.latency.table import LatencyTable, LayerLatency, Timing
from lampq_tvm.latency.work import plan_work
from lampq_tvm.lower.context import TilesFor
from lampq_tvm.lower.module import default_schedules, lower
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.plan import uniform_plan
from lampq_tvm.progress import track
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.spread import usable_cores
from lampq_tvm.store import Units
from lampq_tvm.targets import Target


def measure(
    calibration: Calibration,
    target: Target,
    device: str = "local",
    *,
    units: Units,
    batch: int = 1,
    threads: int | None = None,
    tiles: TilesFor = default_schedules,
) -> LatencyTable:
    """Measure every layer at every pair of widths on a device.

    Layers and pairs that share a kernel share its time. On an emulated board the times are estimates from the instructions
    of one core, by class.

    Args:
        calibration: of the model.
        target: what to compile for.
        device: `local`, `emulated` or `rpc://host:port`.
        units: keeps finished kernels, so that a killed run goes on.
        batch: images per call; times are per call.
        threads: cores to use; all where None.
        tiles: the schedules that will ship.

    Raises:
        DeviceError: the device cannot be reached.
    """
    qm = quantize(calibration, uniform_plan(calibration.model, 8, 8))
    work = plan_work(qm, target.isa, batch, tiles)
    with open_device(device, target) as session:
        functions = {n: call.build() for n, call in work.kernels.items()}
        counted = device == "emulated"
        bench = CountedBench(functions, target) if counted else KernelBench(functions, target, session, threads)
        times = {n: _kept(units, n, partial(bench.time, n)) for n in track(sorted(work.kernels), "kernels")}
        whole = _kept(units, "whole", lambda: whole_model(qm, target, device, session, batch, threads, tiles))
    table = LatencyTable(
        target=target.name,
        device=device,
        threads=1 if device == "emulated" else threads or target.cores,
        layers=tuple(
            LayerLatency(name=layer, pairs={f"{w}/{a}": times[kernel] for (w, a), kernel in pairs.items()})
            for layer, pairs in work.layers.items()
        ),
        fixed={value: times[kernel] for value, kernel in work.fixed.items()},
        whole_ms=whole,
        float_ms=_kept(units, "float", lambda: float_model(calibration.model, batch, threads)) if device == "local" else None,
    )
    return table.model_copy(update={"notes": additivity(table)})


def additivity(table: LatencyTable) -> dict[str, float]:
    """The sum over the 8/8 model's kernels beside the measured whole, in ms, and their difference in percent."""
    total = table.fixed_ms + sum(table.ms(row.name, 8, 8) for row in table.layers)
    whole = table.whole_ms.median_ms if table.whole_ms else total
    return {"sum_ms": total, "whole_ms": whole, "difference_percent": 100 * (total - whole) / whole}


def whole_model(
    qm: QuantizedModel, target: Target, device: str, session: Session | None, batch: int, threads: int | None, tiles: TilesFor
) -> Timing:
    """Time of the whole network."""
    from safetensors.numpy import load as load_tensors

    from lampq_tvm.runtime.machine import Machine
    from lampq_tvm.runtime.params import kernel_params

    lowered = lower(qm, target.isa, batch, tiles)
    params = list(kernel_params(list(lowered.recipes), load_tensors(payload(qm))))
    library = compile_library(lowered, target)
    spec = qm.input
    image = np.full((batch, spec.channels, spec.height, spec.width), 128, np.uint8)
    if device == "emulated":
        with counting_session(target) as counting:
            return estimated_ms(*Machine(library, params, counting).cycles(image), target)
    machine = Machine(library, params, session, threads)
    return timing(1e3 * np.array(machine.seconds(image, SAMPLES + 3)[3:]))


def float_model(model: ImportedModel, batch: int, threads: int | None) -> Timing:
    """Time of the float model in torch on this machine."""
    import torch

    from lampq_tvm.network.execute import run_float

    spec = model.input
    x = torch.zeros(batch, spec.channels, spec.height, spec.width)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or usable_cores())
        with torch.inference_mode():
            samples = [_seconds(lambda: run_float(model, x)) for _ in range(SAMPLES + 3)]
    finally:
        torch.set_num_threads(before)
    return timing(1e3 * np.array(samples[3:]))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _kept(units: Units, name: str, compute: Callable[[], Timing]) -> Timing:
    def arrays() -> dict[str, np.ndarray]:
        t = compute()
        return {"figures": np.array([t.median_ms, t.p95_ms, t.n, t.kind == "measured"])}

    median, p95, n, measured = units.get(name, arrays)["figures"]
    return Timing(median_ms=median, p95_ms=p95, n=int(n), kind="measured" if measured else "estimated")
