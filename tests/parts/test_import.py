"""What has no integer rule stays float, for any number of images, and what has one stays integer."""

from __future__ import annotations

import pytest
import torch

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.export import export_module
from lampq_tvm.frontend.graph import Graph
from lampq_tvm.frontend.prove import recognize_and_prove
from lampq_tvm.network.execute import run_float
from lampq_tvm.network.macs import float_parts, integer_macs
from lampq_tvm.network.model import Attention, ImportedModel
from lampq_tvm.network.operators.float_part import FloatPart
from tests.parts.hybrids import CHANNELS, HYBRIDS, SIDE, hybrid, module

ALWAYS = ["qkv", "proj", "fc1", "fc2", "head"]  # layers that are integer whatever is beside them


@pytest.mark.parametrize("name", HYBRIDS)
@pytest.mark.parametrize("images", [1, 2, 5])
def test_it_computes_what_the_module_computes(name, images):
    x = torch.randn((images, CHANNELS, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(run_float(hybrid(name), x), module(name)(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", HYBRIDS)
def test_layers_stay_integer(name):
    model = hybrid(name)
    wanted = [layer for layer in ALWAYS if layer != "qkv" or name != "Convolved"]
    assert [layer.name for layer in model.layers if layer.name in ALWAYS] == wanted
    types = {layer.name: layer.type for layer in model.layers if layer.name in ALWAYS}
    assert all(kind == layer for layer, kind in types.items() if layer != "proj")
    assert (types["proj"] == "proj") == (name not in ("Convolved", "WindowsOfProducts"))  # no attention before these
    assert any(isinstance(op, Attention) for op in model.ops) == (name == "Hybrid")


def test_the_stem_is_one_part():
    first = hybrid("Hybrid").ops[0]
    assert isinstance(first, FloatPart) and first.inputs == ("image",)
    assert {"conv2d": 2, "batch_norm": 1, "hardswish": 1}.items() <= first.operators.items()


def test_no_node_is_in_two_parts_unless_it_only_moves():
    for name in HYBRIDS:
        nodes = [n.operator for op in hybrid(name).ops if isinstance(op, FloatPart) for n in op.nodes]
        assert nodes.count("conv2d") == 2 + (name == "Convolved")
        assert nodes.count("softmax") <= 1


@pytest.mark.parametrize("name", HYBRIDS)
def test_strict_refuses(name):
    shape = (2, CHANNELS, SIDE, SIDE)
    with pytest.raises(UnsupportedError, match="batch normalization"):
        recognize_and_prove(Graph(export_module(module(name), shape, name), name), shape)


def test_a_file_keeps_parts(tmp_path):
    model = hybrid("WindowsOfProducts")
    model.save(tmp_path / "model.st")
    assert ImportedModel.load(tmp_path / "model.st").ops == model.ops


def test_multiply_adds():
    """A stem of 3x3 and of 2x2, and what the layers and the attention of 16 tokens have."""
    (stem,) = [part for part in float_parts(hybrid("Hybrid")) if part.macs]
    assert stem.macs == 64 * 16 * 27 + 16 * 16 * 64
    assert sum(integer_macs(hybrid("Hybrid")).values()) == 16 * 16 * 16 * (3 + 1 + 2 + 2) + 16 * 5 + 2 * 16 * 16 * 16
