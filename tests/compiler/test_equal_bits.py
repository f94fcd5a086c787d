"""Codes of every layer and the output of the compiled network are the reference's, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.lower.module import default_schedules
from lampq_tvm.network.execute import normalize
from lampq_tvm.oracle import ops
from lampq_tvm.quantize.model import QProduct
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.runtime.runner import Runner
from tests.boards import BOARDS, board_session, runs_here, target_of
from tests.compiler.networks import FAMILIES, artifact, first_difference, images, quantized
from tests.kernels.data import cut

PLANS = ("8/8", "4/4", "mixed")
HOST = next((isa for isa in ("vbmi", "vnni", "avx2") if runs_here(isa)), None)
on_x86 = pytest.mark.skipif(HOST is None, reason="no x86 level to run here")


def other_tiles(kernel) -> Tiles:
    """Sizes that are nobody's default."""
    most = kernel.largest
    return cut(kernel, Tiles(min(3, most.rows), min(2, most.vectors), min(2, most.group), 3))


def assert_equal_bits(qm, runner: Runner, pixels: np.ndarray) -> None:
    """Every value of `trace`, and the output of `main`, which shares no memory plan with it."""
    wanted = run_reference(qm, pixels, values=True)
    assert first_difference(qm, runner.trace(pixels), wanted) is None
    assert runner(pixels).tobytes() == wanted[qm.output].tobytes()


@on_x86
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("batch", "tiles"), [(1, default_schedules), (3, other_tiles)], ids=["", "batch 3, other tiles"])
def test_host_equals_reference(plan, batch, tiles):
    """4 images: a batch of 3 leaves a part of 1."""
    qm, pixels = quantized("vit", plan), images("vit", 4)
    compiled = artifact(qm, target_of(HOST), batch, tiles)
    for threads in (1, 2):
        assert_equal_bits(qm, Runner(compiled, threads=threads), pixels)


@pytest.mark.skipif(not runs_here("avx2") or HOST == "avx2", reason="avx2 is what the tests above run on, or is not there")
@pytest.mark.parametrize("plan", ["8/8", "mixed"])
def test_avx2_equals_reference(plan):
    qm = quantized("vit", plan)
    assert_equal_bits(qm, Runner(artifact(qm, target_of("avx2"))), images("vit", 2))


@on_x86
@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("vit", "one block")])
def test_every_family_equals_reference(family):
    qm = quantized(family, "mixed")
    assert_equal_bits(qm, Runner(artifact(qm, target_of(HOST), 2)), images(family, 3))


@pytest.mark.parametrize("isa", BOARDS)
def test_board_equals_reference(isa):
    board_session(isa).close()  # skips where there is no board
    for plan, tiles in (("8/8", default_schedules), ("mixed", other_tiles)):
        qm = quantized("vit", plan)
        assert_equal_bits(qm, Runner(artifact(qm, target_of(isa), 2, tiles), "emulated"), images("vit", 3))


@on_x86
def test_normalized_images_are_brought_back_to_pixels():
    qm, pixels = quantized("one block", "4/4"), images("one block", 3)
    runner = Runner(artifact(qm, target_of(HOST)))
    assert (runner(normalize(pixels, qm.input).numpy()) == run_reference(qm, pixels)).all()


def flipped(qm, name: str, at: tuple[int, ...], change) -> object:
    """The network with one element of one constant changed."""
    array = qm.tensors[name].copy()
    array[at] = change(array[at])
    assert array[at] != qm.tensors[name][at]
    return dataclasses.replace(qm, tensors=qm.tensors | {name: array})


def used_entry(qm, op: QProduct, values: dict[str, np.ndarray]) -> int:
    """The entry of a table that is read most."""
    t = {k: qm.tensors[f"{op.name}.{k}"] for k in ("w", "M", "B")}
    codes = ops.requantize(ops.product_acc(values[op.inputs[0]], t["w"]), t["M"], t["B"], 8)
    return int(np.bincount(codes.reshape(-1).astype(int) + 128).argmax())


@on_x86
@pytest.mark.parametrize("kind", ["weight", "table", "scale", "softmax table"])
def test_one_changed_constant_is_seen(kind):
    """The network that is compiled differs in one constant from the one that the reference runs: the very layer is named."""
    qm, pixels = quantized("one block", "4/4"), images("one block", 3)
    wanted = run_reference(qm, pixels, values=True)
    table = next(op for op in qm.ops if isinstance(op, QProduct) and op.finish == "table")
    qkv = next(op for op in qm.ops if isinstance(op, QProduct) and op.finish == "codes")
    attention = next(op for op in qm.ops if qkv.name in op.inputs)
    where, name, at, change = {
        "weight": (qkv.name, f"{qkv.name}.w", (5, 7), lambda x: x - 1 if x > 0 else x + 1),
        "table": (table.name, f"{table.name}.table", (used_entry(qm, table, wanted),), lambda x: x - 1 if x > 0 else x + 1),
        "scale": (qkv.name, f"{qkv.name}.M", (0,), lambda x: x * np.float32(1.05)),
        "softmax table": (attention.name, f"{attention.name}.P", (0,), lambda x: x - 60),
    }[kind]
    changed = flipped(qm, name, at, change)
    runner = Runner(artifact(changed, target_of(HOST)))
    assert first_difference(qm, runner.trace(pixels), wanted) == where
    assert first_difference(changed, runner.trace(pixels), run_reference(changed, pixels, values=True)) is None
