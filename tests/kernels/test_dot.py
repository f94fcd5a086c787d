"""The multiply-add steps: their instructions do what their meaning says, as deep as they go and no deeper."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from tvm import te
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.isa.dot import Dot, depth_of, register
from tests.boards import ISAS, runs_here
from tests.kernels.machine import Case, Machine

PAIRS = tuple(itertools.product(range(2, 9), repeat=2))
STEPS = 2  # one after the other into the same sums


def step_kernel(dot: Dot, cases: int, instructions: bool) -> PrimFunc:
    """a [cases, STEPS * k_block] times w [cases, STEPS * depth, lanes, group]: out [cases, lanes] int32.

    The same program with and without tensorization; TVM checks that the loops it replaces are the step's meaning.
    """
    a = te.placeholder((cases, STEPS * dot.k_block), dot.a_dtype, "a")
    w = te.placeholder((cases, STEPS * dot.depth, dot.lanes, dot.group), "int8", "w")
    kq, kr = te.reduce_axis((0, STEPS * dot.depth), "kq"), te.reduce_axis((0, dot.group), "kr")

    def total(c, n):
        return te.sum(a[c, kq * dot.group + kr].astype("int32") * w[c, kq, n, kr].astype("int32"), axis=[kq, kr])

    acc = te.compute((cases, dot.lanes), total, name="acc")
    out = te.compute((cases, dot.lanes), lambda c, n: acc[c, n], name="out")
    sch = Schedule(te.create_prim_func([a, w, out]))
    block = sch.get_sblock("acc")
    c, n, outer, group = sch.get_loops(block)
    outer, *inner = sch.split(outer, [None, dot.depth]) if dot.depth > 1 else [outer]
    sch.reorder(c, outer, n, *inner, group)
    sch.reverse_compute_at(sch.get_sblock("out"), c, preserve_unit_loops=True)
    sch.set_scope(block, 0, "local")
    sch.decompose_reduction(block, outer)
    if instructions:
        sch.tensorize(n, register(dot))
    return sch.mod["main"]


def extremes(dot: Dot, w_bits: int, a_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Every combination of lowest and highest operands where there are few, else uniform ones and random combinations."""
    low, high = dot.shift - (1 << (a_bits - 1)), dot.shift + (1 << (a_bits - 1)) - 1
    w_low, w_high = -(1 << (w_bits - 1)), (1 << (w_bits - 1)) - 1
    size, rng = dot.k_block, np.random.default_rng(w_bits * 8 + a_bits)
    if size <= 4:
        picks = np.array(list(itertools.product((False, True), repeat=2 * size)))
    else:
        uniform = [[x] * size + [y] * size for x in (False, True) for y in (False, True)]
        picks = np.concatenate([np.array(uniform), rng.random((252, 2 * size)) < 0.5])
    a = np.where(np.tile(picks[:, :size], (1, STEPS)), low, high).astype(dot.a_dtype)
    w = np.where(np.tile(picks[:, size:], (1, STEPS)), w_low, w_high).astype(np.int8)
    by_lane = np.repeat(w.reshape(len(w), STEPS * dot.depth, 1, dot.group), dot.lanes, 2)
    by_lane[:, :, 1::2] = np.where(by_lane[:, :, 1::2] == w_low, w_high, w_low)  # neighbours must not mix
    return a, by_lane


def expected(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The sums, [cases, lanes] int32."""
    cases, lanes = len(w), w.shape[2]
    flat = w.transpose(0, 2, 1, 3).reshape(cases, lanes, -1)
    return (flat.astype(np.int64) * a.astype(np.int64)[:, None]).sum(-1).astype(np.int32)


def step_case(dot: Dot, w_bits: int, a_bits: int, instructions: bool) -> Case:
    a, w = extremes(dot, w_bits, a_bits)
    build = functools.partial(step_kernel, dot, len(a), instructions)
    name = f"step of {dot.group} {dot.a_dtype} x {dot.depth}, {len(a)} cases, {'instructions' if instructions else 'meaning'}"
    return Case(f"{dot.name} at {w_bits}/{a_bits}", name, build, (a, w), expected(a, w))


def right(machine: Machine, cases: list[Case]) -> list[bool]:
    """Which cases give what they should."""
    outputs = machine.outputs(cases)
    return [bool((out == case.expected).all()) for case, out in zip(cases, outputs, strict=True)]


def test_instructions_and_meaning_agree_at_every_pair(machine):
    for instructions in (False, True):
        machine.check(step_case(dot_for(machine.isa, w, a), w, a, instructions) for w, a in PAIRS)


def test_one_deeper_would_be_wrong(machine):
    """A step with twice the depth leaves int16, unless depth is at its cap or the sums are 32 bits wide at once."""
    narrow = [pair for pair in PAIRS if dot_for(machine.isa, *pair).name.startswith(("neon", "avx2_u8"))]
    deepest = [pair for pair in narrow if dot_for(machine.isa, *pair).depth < 16]
    assert bool(deepest) == (machine.isa in ("avx2", "neon"))
    cases = []
    for w_bits, a_bits in deepest:
        dot = dot_for(machine.isa, w_bits, a_bits)
        deeper = dataclasses.replace(dot, name=f"{dot.name}_twice", depth=2 * dot.depth)
        cases.append(step_case(deeper, w_bits, a_bits, True))
    assert not any(right(machine, cases))


@pytest.mark.skipif(not runs_here("avx2"), reason="this CPU has no avx2")
def test_byte_products_would_saturate_at_8_bits():
    """`vpmaddubsw` at 8/8: 255 * -128 twice is below -32768, so 8/8 takes another step than 7/8."""
    narrow, wide = dot_for("avx2", 7, 8), dot_for("avx2", 8, 8)
    assert narrow.a_dtype == "uint8" and narrow.depth == 1 and wide.a_dtype == "int16"
    cases = [step_case(narrow, 7, 8, True), step_case(narrow, 8, 8, True)]
    assert right(Machine("avx2", None), cases) == [True, False]


@pytest.mark.parametrize("isa", ISAS)
def test_depth_holds_the_largest_products(isa):
    """depth products of the largest operands fit int16, twice as many do not (or the depth is at its cap)."""
    for w_bits, a_bits in PAIRS:
        dot = dot_for(isa, w_bits, a_bits)
        if dot.name.startswith(("neon", "avx2_u8")):
            pair = 2 * ((1 << a_bits) - 1) << (w_bits - 1) if isa == "avx2" else 1 << (w_bits + a_bits - 2)
            assert dot.depth * pair <= 32767
            assert dot.depth == 16 or 2 * dot.depth * pair > 32767
            assert dot.depth == depth_of(32767, pair)
        else:
            assert dot.depth == 1
