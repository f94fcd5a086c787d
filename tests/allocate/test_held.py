"""Layers held by pattern: what is written, who it means, and what the program makes of it."""

import numpy as np
import pytest

from lampq_tvm.allocate.budget import parse_budget
from lampq_tvm.allocate.solve import allocate
from lampq_tvm.calibrate.calibration import WIDTHS
from lampq_tvm.errors import InfeasibleError, UsageError
from lampq_tvm.recipes.held import parse_held
from lampq_tvm.sensitivity.table import Sensitivity
from tests.quantize.tiny import tiny_model
from tests.recipes.files import recipe


def plan(*held, budget="4bit", **more):
    model = tiny_model()
    names = tuple(layer.name for layer in model.layers)
    loss = np.add.outer(4.0 ** -np.array(WIDTHS), 4.0 ** -np.array(WIDTHS)) * np.ones((len(names), 1, 1))
    known = Sensitivity("fisher_output", True, names, WIDTHS, loss)
    return allocate(model, known, [parse_budget(budget)], held=[parse_held(text) for text in held], **more)


def widths(found, name):
    row = found.layer(name)
    return row.w_bits, row.a_bits


def test_fixed_and_bounded_layers():
    found = plan("head=8/8", "*.fc2=4..5/8", budget="6bit")
    assert widths(found, "head") == (8, 8)
    assert all(4 <= row.w_bits <= 5 and row.a_bits == 8 for row in found.layers if row.type == "fc2")
    assert found.avg_w_bits <= 6


def test_the_last_pattern_that_matches_decides():
    found = plan("*=6", "blocks.0.*=3/3", "blocks.0.fc1=2", budget="8bit")
    assert widths(found, "blocks.0.fc1")[0] == 2 and widths(found, "blocks.0.fc2") == (3, 3)
    assert widths(found, "blocks.1.fc1") == (6, 6)  # tied, as the other pairs are


def test_the_image_keeps_its_8_bits():
    patch = plan("*=4/4").layers[0]
    assert patch.reads_image and (patch.w_bits, patch.a_bits) == (4, 8)


def test_what_cannot_be():
    with pytest.raises(InfeasibleError):
        plan("*=8/8", budget="4bit")
    with pytest.raises(UsageError, match="no layer is called 'heads'; there are patch, "):
        plan("heads=8/8")


@pytest.mark.parametrize(
    "text", ["head", "head=", "head=9/8", "head=8/1", "=8/8", "head=4...8", "head=8/8/8", "head=6..4", "a b=4"]
)
def test_what_says_nothing_is_refused(text):
    with pytest.raises(UsageError, match="write PATTERN=W/A"):
        parse_held(text)


def test_a_recipe_holds_layers_too(tmp_path):
    assert recipe(tmp_path / "r.toml", hold=["head=8/8"]).held == (parse_held("head=8/8"),)
    with pytest.raises(UsageError, match="does not say which layers"):
        recipe(tmp_path / "s.toml", hold=["head"])
