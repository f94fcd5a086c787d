"""Rotated networks, whose norms are RMSNorms, on every target: each value is the reference's, bit for bit."""

from __future__ import annotations

import functools

import pytest

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QLayerNorm, QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.recipes.find import find_recipe
from lampq_tvm.runtime.runner import Runner
from lampq_tvm.store import Units
from tests.boards import BOARDS, board_session, runs_here, target_of
from tests.compiler.networks import artifact, first_difference, images, network


@functools.cache
def rotated(folder: str) -> QuantizedModel:
    recipe = find_recipe("nearest").model_copy(update={"rewrites": ("rotate",)})
    found = calibrate(network("vit"), [(images("vit", 8), None)], units=Units(folder), recipe=recipe, widths=(4, 8))
    qm = quantize(found, uniform_plan(found.model, 4, 4))
    norms = [op for op in qm.ops if isinstance(op, QLayerNorm)]
    assert norms and not any(op.centred for op in norms)
    return qm


@pytest.fixture(scope="module")
def qm(tmp_path_factory):
    return rotated(str(tmp_path_factory.mktemp("rotated")))


@pytest.mark.parametrize("isa", ["vbmi", "vnni", "avx2"])
def test_x86_equals_reference(isa, qm):
    if not runs_here(isa):
        pytest.skip(f"this CPU has no {isa}")
    pixels = images("vit", 2)
    wanted = run_reference(qm, pixels, values=True)
    assert first_difference(qm, Runner(artifact(qm, target_of(isa))).trace(pixels), wanted) is None


@pytest.mark.parametrize("isa", BOARDS)
def test_boards_equal_reference(isa, qm):
    board_session(isa).close()  # skips where there is no board
    pixels = images("vit", 2)
    runner = Runner(artifact(qm, target_of(isa)), "emulated")
    assert first_difference(qm, runner.trace(pixels), run_reference(qm, pixels, values=True)) is None
