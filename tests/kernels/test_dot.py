"""The multiply-adds: their sums are exact at the extremes, as deep as their 16-bit parts go and no deeper."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import argument, ramp
from lampq_tvm.kernels.isa import LEVELS, dot_for, weight_peak
from lampq_tvm.kernels.isa.avx2 import MAX_DEPTH, Narrow
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.isa.mla import DEEPEST, Mla
from lampq_tvm.kernels.isa.neon import DEEPEST_LONG, Smlal
from lampq_tvm.kernels.isa.operand import Packed
from lampq_tvm.kernels.isa.tables import Tables
from lampq_tvm.kernels.registers import Registers
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.quantizers.symmetric import weight_range
from tests.boards import runs_here
from tests.kernels.machine import Case, Machine

PAIRS = tuple(itertools.product(range(2, 9), repeat=2))
ROWS, MOST_VECTORS = 3, 2
LONGEST = 70


def vectors_of(dot: Dot) -> int:
    """Weight vectors of a tile whose sums fit into registers."""
    return max(
        v for v in range(1, MOST_VECTORS + 1) if v == 1 or (dot.slots(ROWS, v) <= dot.accumulators and dot.fits(ROWS, v))
    )


def tile_kernel(dot: Dot, steps: int) -> PrimFunc:
    """A panel a [steps, panel rows * row items] times packed w [vectors, steps, ..]: out [rows, vectors * lanes] int32."""
    vectors = vectors_of(dot)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("tile")
            a = argument("a", (round_up(steps, dot.step_block), dot.panel_rows(ROWS) * dot.row_items), dot.a_dtype)
            w = argument("w", (vectors, steps, dot.weight_bytes), "int8")
            out = argument("out", (ROWS, vectors * dot.lanes), "int32")
            with T.sblock("root"):
                T.reads()
                T.writes()
                acc = Registers(dot.slots(ROWS, vectors), dot.acc_lanes, "int32")
                tile = Tile(
                    ROWS, vectors, steps, 2, acc,
                    Packed(a, (), dot.group), [Packed(w, (vector,)) for vector in range(vectors)],
                )  # fmt: skip
                dot.multiply(tile)
                for row, vector in itertools.product(range(ROWS), range(vectors)):
                    for i, sums in enumerate(dot.read(tile, row, vector)):
                        T.buffer_store(out, sums, [row, ramp(vector * dot.lanes + i * dot.acc_lanes, dot.acc_lanes)])
        return builder.get()


def steps_of(dot: Dot) -> int:
    """Steps that leave a rest after whole 16-bit sums."""
    return min(2 * getattr(dot, "depth", 2) + 1, LONGEST)


def tile_case(dot: Dot, w_peak: int, a_bits: int, steps: int | None = None) -> Case:
    """Rows and channels of lowest, highest, alternating and random extremes."""
    steps, rng = steps or steps_of(dot), np.random.default_rng(w_peak * 8 + a_bits)
    vectors = vectors_of(dot)
    low, high = dot.shift - (1 << (a_bits - 1)), dot.shift + (1 << (a_bits - 1)) - 1
    a = np.where(rng.random((ROWS, steps, dot.group)) < 0.5, low, high)
    a[0], a[1] = low, high
    w_high = min(w_peak, 127) - (w_peak < 127)
    w = np.where(rng.random((vectors * dot.lanes, steps, dot.group)) < 0.5, -w_peak, w_high)
    w[0], w[1], w[-1] = -w_peak, w_high, -w_peak
    expected = np.einsum("rkg,nkg->rn", a, w).astype(np.int32)
    panel = np.zeros((round_up(steps, dot.step_block), dot.panel_rows(ROWS), dot.row_items), dot.a_dtype)
    panel[:steps, :ROWS] = inputs_of(dot, a).transpose(1, 0, 2)
    if dot.layout == "pairs":
        w = w[..., :1] + 4 * w[..., 1:] + 10
    packed = w.reshape(vectors, dot.lanes, steps, -1).transpose(0, 2, 1, 3).astype(np.int8)
    args = panel.reshape(len(panel), -1), np.ascontiguousarray(packed).reshape(vectors, steps, -1)
    return Case(f"{dot.name} at {w_peak}/{a_bits}", dot.name, functools.partial(tile_kernel, dot, steps), args, expected)


def inputs_of(dot: Dot, a: np.ndarray) -> np.ndarray:
    """What a panel holds of rows a [rows, steps, group]: [rows, steps, row items]."""
    if dot.layout == "pairs":
        weights = np.array([(first, second) for second in range(-2, 2) for first in range(-2, 2)])
        return -np.einsum("rkg,ig->rki", a, weights)
    return -a if dot.negate else a


def right(machine: Machine, cases: list[Case]) -> list[bool]:
    """Which cases give what they should."""
    outputs = machine.outputs(cases)
    return [bool((out == case.expected).all()) for case, out in zip(cases, outputs, strict=True)]


def test_sums_are_exact_at_every_pair(machine):
    """Products of weights, and of two operands of which each takes all codes, as in attention."""
    level = LEVELS[machine.isa]
    machine.check(tile_case(dot_for(machine.isa, w, a), weight_peak(w), a) for w, a in PAIRS)
    machine.check(tile_case(level.dot(1 << (w - 1), a), 1 << (w - 1), a) for w, a in PAIRS)


def test_one_deeper_would_be_wrong(machine):
    """A sum of one product more, or of two where it adds two at a time, leaves its 8 or 16 bits; unless its depth is at its cap
    or sums are 32 bits wide.
    """
    dots = {pair: dot_for(machine.isa, *pair) for pair in PAIRS}
    caps = {Mla: DEEPEST, Smlal: DEEPEST_LONG, Narrow: MAX_DEPTH, Tables: 99}
    deep = [pair for pair, dot in dots.items() if getattr(dot, "depth", 99) < caps.get(type(dot), 0)]
    assert bool(deep) == (machine.isa in ("avx2", "neon"))
    cases = []
    for w_bits, a_bits in deep:
        dot = dots[w_bits, a_bits]
        more = 2 if isinstance(dot, Smlal) and dot.depth > 1 else 1  # products that it can add
        deeper = dataclasses.replace(dot, name=f"{dot.name}_deeper_{w_bits}_{a_bits}", depth=dot.depth + more)
        cases.append(tile_case(deeper, weight_peak(w_bits), a_bits, deeper.depth))
    assert not any(right(machine, cases))


@pytest.mark.skipif(not runs_here("avx2"), reason="this CPU has no avx2")
def test_byte_products_would_saturate_at_8_bits():
    """`vpmaddubsw` at 8/8: 255 * -127 twice is below -32768, so 8/8 takes another multiply-add than 7/8."""
    narrow, wide = dot_for("avx2", 7, 8), dot_for("avx2", 8, 8)
    assert narrow.a_dtype == "uint8" and narrow.depth == 1 and wide.a_dtype == "int16"
    cases = [tile_case(narrow, 64, 8), tile_case(narrow, 127, 8)]
    assert right(Machine("avx2", None), cases) == [True, False]


def test_the_quantizer_keeps_to_what_kernels_rely_on():
    for bits in range(2, 9):
        low, high = weight_range(bits)
        assert -low == weight_peak(bits) >= high
