"""How near each kernel of a model is to what its instructions allow, and where most could be won.

    python -m bench.speed.limits                       (this machine and the emulated boards; bench/results/limits.json)
    python -m bench.speed.limits --levels avx2 --widths 4/8

On this machine milliseconds on one thread, the least of several turns: `least` is the kernel's multiply-adds at the best rate
of a register tile on operands that stay in the nearest cache, with nothing around it; `copied` is the time that its operands
take through memory. On emulated boards million instructions: `least` are the multiply-adds alone, `loop` these and the loads of
their loop. `won`: what all calls of the kernel together are above the least. Random operands; on this machine shipped
schedules, elsewhere default ones.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from bench.common.networks import BOARDS, LONG, MODELS, network, runs_here
from bench.common.run import arguments, finish, machine
from lampq_tvm.device.kinds import find_device
from lampq_tvm.device.native import count_kernel
from lampq_tvm.kernels.emit import function, ramp
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.operand import Packed
from lampq_tvm.kernels.registers import Registers
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import AttentionKernel, Kernel, ProductKernel
from lampq_tvm.latency.bench import arguments as operands
from lampq_tvm.latency.bench import timing_bench
from lampq_tvm.latency.work import at_widths
from lampq_tvm.levels import CPU_LEVELS, CpuLevel
from lampq_tvm.lower.module import lower_calls
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.records.cpu import Records
from lampq_tvm.targets import level_target, resolve_target

COLUMNS = ("level", "widths", "kernel", "calls", "unit", "figure", "least", "loop", "copied", "ratio", "won")
NEAR_STEPS, NEAR_TIMES = 64, 500
NEAR_TILES = ((5, 2), (6, 2), (7, 1), (6, 4), (8, 3))
COPIED_BYTES = 64 << 20
TURNS = 5


@dataclass(frozen=True)
class Used:
    """A kernel of a model.

    Attributes:
        kernel: None where it has no sizes to choose.
        build: what makes its function.
    """

    name: str
    calls: int
    kernel: Kernel | None
    function: PrimFunc

    @property
    def work(self) -> list[tuple[Dot, int]]:
        """(multiply-add, how many of them) of its products."""
        if isinstance(self.kernel, ProductKernel):
            return [(self.kernel.dot, self.kernel.shape.rows * self.kernel.shape.n * self.kernel.shape.k)]
        if isinstance(self.kernel, AttentionKernel):
            shape = self.kernel.shape
            return [(dot, shape.batch * shape.tokens**2 * shape.channels) for dot in self.kernel.dots]
        return []

    @property
    def bytes(self) -> int:
        """Of its arguments and its output."""
        sizes = [[int(extent) for extent in buffer.shape] for buffer in self.function.params]
        return sum(int(np.prod(s)) * np.dtype(str(b.dtype)).itemsize for s, b in zip(sizes, self.function.params, strict=True))


def kernels(qm: QuantizedModel, level: CpuLevel, batch: int, *, tuned: bool) -> Iterator[Used]:
    """Every kernel of a network, with the schedules that ship or the default ones."""
    kinds, records = dict[str, Kernel](), Records(None)

    def tiles(kernel: Kernel) -> Tiles | None:
        found = records(kernel) if tuned else None
        kinds[kernel.key + (f"_t{found.key}" if found else "")] = kernel
        return found

    calls, _ = lower_calls(qm, level.name, batch, tiles)
    counts = Counter(call.kernel for call in calls)
    for name, build in {call.kernel: call.build for call in calls}.items():
        yield Used(name, counts[name], kinds.get(name), build())


def near(dot: Dot, rows: int, vectors: int) -> PrimFunc:
    """A register tile over and over, on a panel and weights that stay in the nearest cache."""
    steps = round_up(NEAR_STEPS, dot.step_block)

    def body(a: Any, w: Any, out: Any) -> None:
        with T.serial(0, NEAR_TIMES), T.sblock("tile"):
            T.reads()
            T.writes()
            acc = Registers(dot.slots(rows, vectors), dot.acc_lanes, "int32")
            weights = [Packed(w, (vector,)) for vector in range(vectors)]
            tile = Tile(rows, vectors, steps, dot.unroll, acc, Packed(a, (), dot.group), weights)
            dot.multiply(tile)
            for row, vector in itertools.product(range(rows), range(vectors)):
                for i, sums in enumerate(dot.read(tile, row, vector)):
                    T.buffer_store(out, sums, [row, ramp(vector * dot.lanes + i * dot.acc_lanes, dot.acc_lanes)])

    shapes = [
        ("a", (steps, dot.panel_rows(rows) * dot.row_items), dot.a_dtype),
        ("w", (vectors, steps, dot.weight_bytes), "int8"),
        ("out", (rows, vectors * dot.lanes), "int32"),
    ]
    return function("near", shapes, body)


def near_name(dot: Dot, rows: int, vectors: int) -> str:
    """Of its function."""
    return f"near_{dot.name}_{rows}x{vectors}"


def near_macs(dot: Dot, rows: int, vectors: int) -> int:
    """Multiply-adds of `near`."""
    return NEAR_TIMES * rows * vectors * dot.lanes * dot.group * round_up(NEAR_STEPS, dot.step_block)


def multiplies(dot: Dot, macs: int) -> float:
    """Instructions that so many multiply-adds take, widening included."""
    rows = dot.row_block * 2
    return macs * dot.multiplies(rows, 1) / (rows * dot.lanes * dot.group)


def copy_rate() -> float:
    """Bytes a second that a copy through memory reads and writes."""
    source = np.ones(COPIED_BYTES, np.uint8)
    target, best = np.empty_like(source), np.inf
    for _ in range(5):
        begin = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - begin)
    return 2 * COPIED_BYTES / best


def measured(qm: QuantizedModel, level: CpuLevel, batch: int, widths: str) -> Iterator[dict[str, Any]]:
    """Rows of this machine."""
    used, rate = list(kernels(qm, level, batch, tuned=True)), copy_rate()
    dots = {dot for kernel in used for dot, _ in kernel.work}
    tiles = [(dot, rows, vectors) for dot in dots for rows, vectors in NEAR_TILES if dot.fits(rows, vectors)]
    functions = {k.name: k.function for k in used} | {near_name(*tile): near(*tile) for tile in tiles}
    with timing_bench(functions, level_target(level), find_device(), 1) as bench:
        figures, peaks = dict.fromkeys(functions, float("inf")), dict.fromkeys(dots, 0.0)
        for _, kernel in itertools.product(range(TURNS), used):  # the machine is not always as fast
            figures[kernel.name] = min(figures[kernel.name], bench.time(kernel.name).median_ms)
            for tile in tiles:
                peaks[tile[0]] = max(peaks[tile[0]], near_macs(*tile) / bench.time(near_name(*tile)).median_ms)
        for kernel in used:
            least = sum(macs / peaks[dot] for dot, macs in kernel.work) or None
            figure, macs = figures[kernel.name], sum(macs for _, macs in kernel.work)
            rates = {"gmacs": macs / figure / 1e6, "peak": macs / least / 1e6} if least else {}
            rates |= {"intensity": macs / kernel.bytes, "memory": rate / 1e9}
            copied = 1e3 * kernel.bytes / rate
            yield row(level, widths, kernel, "ms", figure, least, copied=copied, **rates)


def counted(qm: QuantizedModel, level: CpuLevel, batch: int, widths: str) -> Iterator[dict[str, Any]]:
    """Rows of an emulated board."""
    target = resolve_target(BOARDS[level.name])
    for kernel in kernels(qm, level, batch, tuned=False):
        figure = count_kernel(kernel.function, operands(kernel.function)[:-1], target)[1] / 1e6
        least = sum(multiplies(dot, macs) for dot, macs in kernel.work) / 1e6
        loop = None
        if isinstance(kernel.kernel, ProductKernel):
            (dot, _), sizes = kernel.work[0], kernel.kernel.default
            loop = least * dot.instructions(sizes.rows, sizes.vectors) / dot.multiplies(sizes.rows, sizes.vectors)
        yield row(level, widths, kernel, "million", figure, least or None, loop=loop)


def row(
    level: CpuLevel, widths: str, kernel: Used, unit: str, figure: float, least: float | None, **more: Any
) -> dict[str, Any]:
    """A line of the table."""
    won = kernel.calls * (figure - (least or 0.0))
    shown = {"figure": round(figure, 4), "least": least and round(least, 4), "ratio": least and round(figure / least, 3)}
    names = {"level": level.name, "widths": widths, "kernel": kernel.name, "calls": kernel.calls, "unit": unit}
    return {**names, **shown, "won": round(won, 3), **{k: v if v is None else round(v, 4) for k, v in more.items()}}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "limits")
    levels = [level.name for level in CPU_LEVELS.values() if level.name in BOARDS or runs_here(level)]
    parser.add_argument("--levels", nargs="+", choices=levels, default=levels)
    parser.add_argument("--widths", nargs="+", default=["8/8", "4/8"], help="bits of weights / activations")
    parser.add_argument("--model", choices=[*MODELS, *LONG], default="deit_small")
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    found, qm = [], network(*(MODELS | LONG)[options.model])
    for name in options.levels:
        level = CPU_LEVELS[name]
        for widths in options.widths:
            at = at_widths(qm, *map(int, widths.split("/")))
            rows = list((measured if runs_here(level) else counted)(at, level, options.batch, widths))
            found += sorted(rows, key=lambda r: -r["won"])
    finish(options.output, COLUMNS, found, model=options.model, batch=options.batch, machine=machine())
    for name, widths in dict.fromkeys((row["level"], row["widths"]) for row in found):
        own = [row for row in found if (row["level"], row["widths"]) == (name, widths)]
        whole, least = (sum(row["calls"] * (row[key] or 0.0) for row in own) / options.batch for key in ("figure", "least"))
        print(f"{name} {widths}: {whole:.1f} {own[0]['unit']} an image, least {least:.1f}, ratio {whole / least:.2f}")


if __name__ == "__main__":
    main()
