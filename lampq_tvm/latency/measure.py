"""Measures a model's latency table: each distinct kernel once, the whole 8/8 model and the float model beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.compiler.build import compile_library, payload
from lampq_tvm.device.clocks import clock_mhz
from lampq_tvm.device.kind import Device
from lampq_tvm.device.times import MEASURED, added
from lampq_tvm.latency.bench import SAMPLES, Bench, timing_bench
from lampq_tvm.latency.floats import float_work
from lampq_tvm.latency.table import LatencyTable, LayerLatency, Timing
from lampq_tvm.latency.work import plan_work
from lampq_tvm.lower.context import TilesFor
from lampq_tvm.lower.module import default_schedules, lower
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.progress import track
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.spread import usable_cores
from lampq_tvm.store import Units
from lampq_tvm.targets import Target


def measure(
    calibration: Calibration,
    target: Target,
    device: Device,
    *,
    units: Units,
    batch: int = 1,
    threads: int | None = None,
    tiles: TilesFor = default_schedules,
) -> LatencyTable:
    """Measure every layer at every pair of widths on a device.

    Layers and pairs that share a kernel share its time. On a board that is played the times are estimates from the
    instructions of one core, by class.

    Args:
        calibration: of the model.
        target: what to compile for.
        device: where they run.
        units: keeps finished kernels, so that a killed run goes on.
        batch: images per call; times are per call.
        threads: cores to use; all where None.
        tiles: the schedules that will ship.

    Raises:
        DeviceError: the device cannot be reached.
    """
    qm = quantize(calibration, uniform_plan(calibration.model, 8, 8))
    work = plan_work(qm, target.isa, batch, tiles)
    floats = () if device.here else float_work(calibration.model, target.isa, batch)
    functions = {n: call.build() for n, call in work.kernels.items()} | {part.name: part.function for part in floats}
    with device.alone(), timing_bench(functions, target, device, threads) as bench:
        times = {n: _kept(units, n, partial(bench.time, n)) for n in track(sorted(functions), "kernels")}
        whole = _kept(units, "whole", lambda: whole_model(qm, target, bench, batch, tiles))
        if device.here:
            float_ms = _kept(units, "float", lambda: float_model(calibration.model, batch, threads))
        else:
            float_ms = added([(times[part.name], part.count) for part in floats])
        clocks = device.clocks(bench.session)
    table = LatencyTable(
        target=target.name,
        device=device.name,
        threads=1 if device.times.counted else threads or target.cores,
        clocks_mhz=clock_mhz(clocks),
        layers=tuple(
            LayerLatency(name=layer, pairs={f"{w}/{a}": times[kernel] for (w, a), kernel in pairs.items()})
            for layer, pairs in work.layers.items()
        ),
        fixed={value: times[kernel] for value, kernel in work.fixed.items()},
        whole_ms=whole,
        float_ms=float_ms,
    )
    return table.model_copy(update={"notes": additivity(table) | ({} if clocks is None else {"clocks": clocks})})


def additivity(table: LatencyTable) -> dict[str, Any]:
    """The sum over the 8/8 model's kernels beside the measured whole, in ms, and their difference in percent."""
    total = table.fixed_ms + sum(table.ms(row.name, 8, 8) for row in table.layers)
    whole = table.whole_ms.median_ms if table.whole_ms else total
    return {"sum_ms": total, "whole_ms": whole, "difference_percent": 100 * (total - whole) / whole}


def whole_model(qm: QuantizedModel, target: Target, bench: Bench, batch: int, tiles: TilesFor) -> Timing:
    """Time of the whole network where a bench times its kernels."""
    from safetensors.numpy import load as load_tensors

    from lampq_tvm.runtime.params import kernel_params

    lowered = lower(qm, target.isa, batch, tiles)
    params = list(kernel_params(list(lowered.recipes), load_tensors(payload(qm, lowered.stored))))
    library = compile_library(lowered, target)
    spec = qm.input
    image = np.full((batch, spec.channels, spec.height, spec.width), 128, np.uint8)
    return bench.whole(library, params, image)


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
    return MEASURED.of(1e3 * np.array(samples[3:]))


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
