"""Quantizers with tables, which only tests know, compiled for CPUs: every value is the reference's, bit for bit."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from safetensors.numpy import load

from lampq_tvm.artifact.bits import unpack_bits
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.compiler.build import payload
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.quantize.weighted import Weighted
from lampq_tvm.runtime.runner import Runner
from tests.boards import BOARDS, board_session, runs_here, target_of
from tests.compiler.networks import artifact, calibration, first_difference, images, network
from tests.quantizers.tabled import with_levels, with_quantizer, with_zero_points

QUANTIZERS = ("squares", "powers", "zero points", "levels")  # the last two of weights
WEIGHTS = {"zero points": with_zero_points, "levels": with_levels}
FAMILIES = ("vit", "swin padded", "eva02", "siglip")  # look-ups behind LayerNorm, windows, gates, constant queries


@functools.cache
def tabled(family: str, name: str) -> QuantizedModel:
    """The network at few bits with every layer's input quantized by a quantizer of the tests, or with asymmetric weights."""
    if name in WEIGHTS:
        widths = itertools.cycle((2, 3, 4, 6))
        plan = uniform_plan(network(family), 4, 4)
        rows = [row.model_copy(update={"w_bits": next(widths)}) for row in plan.layers]
        return quantize(WEIGHTS[name](calibration(family)), plan.model_copy(update={"layers": tuple(rows)}))
    return quantize(with_quantizer(calibration(family), name), uniform_plan(network(family), 4, 4))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("isa", ["vbmi", "vnni", "avx2"])
def test_x86_equals_reference(isa, name, family):
    if not runs_here(isa):
        pytest.skip(f"this CPU has no {isa}")
    qm, pixels = tabled(family, name), images(family, 2)
    wanted = run_reference(qm, pixels, values=True)
    runner = Runner(artifact(qm, target_of(isa)))
    assert first_difference(qm, runner.trace(pixels), wanted) is None
    assert runner(pixels).tobytes() == wanted[qm.output].tobytes()


@pytest.mark.parametrize("isa", BOARDS)
def test_boards_equal_reference(isa):
    board_session(isa).close()  # skips where there is no board
    for name in QUANTIZERS:
        qm, pixels = tabled("vit", name), images("vit", 2)
        runner = Runner(artifact(qm, target_of(isa)), "emulated")
        assert first_difference(qm, runner.trace(pixels), run_reference(qm, pixels, values=True)) is None


def test_the_payload_holds_codes_and_zero_points():
    """Codes at their width, one zero point a row; a row's values are those of its quantizer."""
    qm = tabled("vit", "zero points")
    stored = load(payload(qm))
    for op in qm.ops:
        if isinstance(op, Weighted):
            assert op.has_zeros and op.multiplied.bits == op.w_bits + 1
            n, k = qm.tensors[f"{op.name}.w"].shape
            assert stored[f"{op.name}.w"].size == -(-n * k * op.w_bits // 8) and stored[f"{op.name}.zero"].shape == (n,)
            codes = unpack_bits(stored[f"{op.name}.w"], op.w_bits, (n, k))
            assert np.array_equal(codes - stored[f"{op.name}.zero"][:, None].astype(int), qm.tensors[f"{op.name}.w"])


def test_the_payload_holds_codes_and_levels():
    """Codes at their width, a layer's levels beside them; what is multiplied are levels."""
    qm = tabled("vit", "levels")
    stored = load(payload(qm))
    for op in qm.ops:
        if isinstance(op, Weighted):
            if op.w_bits == 6:  # another kind of weights at this width
                assert not op.has_levels and op.multiplied.bits == 6 and f"{op.name}.levels" not in stored
                continue
            assert op.has_levels and op.multiplied.bits == 8
            n, k = qm.tensors[f"{op.name}.w"].shape
            levels = qm.tensors[f"{op.name}.levels"]
            assert stored[f"{op.name}.w"].size == -(-n * k * op.w_bits // 8) and levels.shape == (1 << op.w_bits,)
            codes = unpack_bits(stored[f"{op.name}.w"], op.w_bits, (n, k)).astype(int)
            assert np.array_equal(levels[codes + len(levels) // 2], qm.tensors[f"{op.name}.w"])


def test_planes_share_their_weights():
    """Both products of a layer whose input takes two planes read one stored matrix."""
    qm = tabled("vit", "powers")
    parts = {name for name in qm.tensors if name.endswith(".part.w")}
    stored = set(load(payload(qm)))
    assert len(parts) == len(network("vit").layers) - 1 and not parts & stored
    assert {name.replace(".part.w", ".w") for name in parts} <= stored
