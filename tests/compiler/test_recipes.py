"""Every recipe that ships, compiled: each value of the artifact is the reference's, bit for bit."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.calibrate.refit import refit
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.recipes.find import find_recipe, shipped
from lampq_tvm.runtime.runner import Runner
from lampq_tvm.store import Units
from tests.boards import board_session, runs_here, target_of
from tests.compiler.networks import artifact, first_difference, images, network

BEST = next(isa for isa in ("vbmi", "vnni", "avx2") if runs_here(isa))
ON_BOARDS = ("default", "lampq", "ptq4vit", "fqvit", "lrq")  # a fitted table, a searched base, shifted ranges, powers of two


@functools.cache
def made(name: str, bits: int) -> QuantizedModel:
    """A small network by a recipe, all of its codes at one width, attention's too."""
    recipe, model = find_recipe(name), network("vit")
    with tempfile.TemporaryDirectory() as place:
        folder, data = Path(place), [(images("vit", 16, 0), None)]
        found = calibrate(model, data, units=Units(folder / "a"), recipe=recipe, widths=(bits, 8))
        plan = uniform_plan(model, bits, bits, bits, recipe.probabilities(model, bits))
        if recipe.refit is not None:
            found = refit(found, plan, data, recipe.refit, units=Units(folder / "b"), folder=folder / "c")
    return quantize(found, plan)


def check(qm: QuantizedModel, runner: Runner) -> None:
    pixels = images("vit", 2)
    wanted = run_reference(qm, pixels, values=True)
    assert first_difference(qm, runner.trace(pixels), wanted) is None


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("name", shipped())
def test_the_host_equals_the_reference(name, bits):
    qm = made(name, bits)
    check(qm, Runner(artifact(qm, target_of(BEST))))


@pytest.mark.parametrize("machine", ["dotprod", "neon"])
def test_boards_equal_the_reference(machine):
    board_session(machine).close()  # skips where there is no board
    for name in ON_BOARDS:
        qm = made(name, 3)
        check(qm, Runner(artifact(qm, target_of(machine)), "emulated"))
