"""What has no integer rule stays float, for any number of images, and what has one stays integer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.export import export_module
from lampq_tvm.frontend.finish import Recognized
from lampq_tvm.frontend.graph import Graph
from lampq_tvm.frontend.prove import recognize_and_prove
from lampq_tvm.network.execute import run_float
from lampq_tvm.network.macs import float_parts, integer_macs
from lampq_tvm.network.model import Attention, ImportedModel, Linear, MatMul, TakeToken
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


@pytest.mark.parametrize("name", HYBRIDS)
def test_products_of_computed_values_are_integer(name):
    """Those of every kind of attention that is not recognized whole; their matrices need not be turned first."""
    products = [op for op in hybrid(name).ops if isinstance(op, MatMul)]
    # Attention that is whole; none; scores by baddbmm; images along another axis than the first.
    wanted = {"Hybrid": [], "Convolved": [], "SequenceFirst": [False], "HeadsFirst": []}
    assert [op.transposed for op in products] == wanted.get(name, [True, False])
    left = {n.operator for op in hybrid(name).ops if isinstance(op, FloatPart) for n in op.nodes}
    assert bool(left & {"matmul", "bmm", "scaled_dot_product_attention"}) == (name == "HeadsFirst")


def with_end(end: Callable[[torch.Tensor], torch.Tensor], side: int = SIDE) -> Recognized:
    """A network whose image goes through a function and a layer."""

    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc = nn.Linear(end(torch.zeros(1, CHANNELS, side, side)).shape[1], 5)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.fc(end(image))

    shape = (2, CHANNELS, side, side)
    return recognize_and_prove(Graph(export_module(Made().eval(), shape, "made"), "made"), shape, strict=False)


@pytest.mark.parametrize(
    "end",
    [
        lambda x: (x @ x.transpose(-1, -2)).flatten(1),  # the image itself
        lambda x: ((x * 2).double() @ (x + 1).double()).float().flatten(1),
        lambda x: ((x * 2).half() @ (x + 1).half()).float().flatten(1),
        lambda x: nn.functional.adaptive_avg_pool2d((x * 2).flatten(2).transpose(1, 2), 1).flatten(1),  # three axes, no maps
    ],
)
def test_what_no_integer_operator_does_stays_in_parts(end):
    assert {type(op) for op in with_end(end).ops} - {TakeToken} == {FloatPart, Linear}  # of one, which is free


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


class Small(nn.Module):
    """A convolution, a layer, and what is done with its answer."""

    def __init__(self, end: Callable[[torch.Tensor], object], keep: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.fc = nn.Conv2d(CHANNELS, 8, 3, 2, 1), nn.Linear(8, 5)
        self.end, self.keep = end, keep

    def forward(self, image: torch.Tensor) -> object:
        pooled = nn.functional.adaptive_avg_pool2d(self.stem(image), 1)
        return self.end(self.fc(pooled.squeeze() if self.keep else pooled.flatten(1)))


def small(end: Callable[[torch.Tensor], object], keep: bool = False) -> Recognized:
    shape = (2, CHANNELS, SIDE, SIDE)
    return recognize_and_prove(Graph(export_module(Small(end, keep).eval(), shape, "small"), "small"), shape, strict=False)


def test_a_squeeze_never_takes_the_images():
    assert small(lambda x: x, keep=True).has_classifier


@pytest.mark.parametrize(
    ("end", "logits"),
    [(lambda x: x, True), (lambda x: x.view(-1, 1, 5).flatten(1), True), (lambda x: x.softmax(-1), False),
     (lambda x: nn.functional.normalize(x, dim=-1), False), (lambda x: (x, x + 1), False), (lambda x: x[:, :, None], False)],
)  # fmt: skip
def test_what_counts_as_a_classifier(end, logits):
    assert small(end).has_classifier == logits


@pytest.mark.parametrize(
    ("end", "said"),
    [(lambda x: (x, x.argmax(1)), "int64"), (lambda x: x.sum(1), r"\[2\]"), (lambda x: (x, (-x.abs() - 1).sqrt()), "relative"),
     (lambda x: x * x.mean(0), "mixing the images|relative")],
)  # fmt: skip
def test_outputs_that_are_refused(end, said):
    with pytest.raises(UnsupportedError, match=said):
        small(end)


def test_no_layer_at_all():
    shape, module = (2, CHANNELS, SIDE, SIDE), nn.Sequential(nn.Conv2d(CHANNELS, 8, 3, 2, 1), nn.Flatten()).eval()
    with pytest.raises(UnsupportedError, match="no layer can be quantized"):
        recognize_and_prove(Graph(export_module(module, shape, "conv"), "conv"), shape, strict=False)


def test_a_block_in_another_type_is_refused_by_name():
    class Half(Small):
        def forward(self, image: torch.Tensor) -> object:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                image = self.stem(image)
            return self.fc(image.float().mean((2, 3)))

    shape = (2, CHANNELS, SIDE, SIDE)
    with pytest.raises(UnsupportedError, match="wrap_with_autocast"):
        recognize_and_prove(Graph(export_module(Half(torch.abs).eval(), shape, "half"), "half"), shape, strict=False)


def test_keyword_arguments_called_as_references_are():
    """A type by keyword is an argument, not a reference to a type."""
    found = small(lambda x: x / x.abs().sum(-1, keepdim=True, dtype=torch.float32))
    nodes = [node for op in found.ops if isinstance(op, FloatPart) for node in op.nodes]
    assert [node.kwargs for node in nodes if node.operator == "sum"] == [{"dtype": {"dtype": "float32"}}]
