"""ONNX files as people have them: of networks with float parts, in float16, quantized, with tables held several times."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.load import load_model
from lampq_tvm.frontend.onnx.read import import_onnx
from lampq_tvm.network.execute import run_float
from lampq_tvm.network.macs import float_parts
from tests.parts.hybrids import CHANNELS, SIDE, Hybrid, module

NORM = {"mean": [0.5], "std": [0.25]}


def export(network: nn.Module, path: Path, dynamo: bool, batch: int = 1) -> str:
    """The file, as either exporter writes it."""
    image = torch.randn((batch, CHANNELS, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        version = {} if dynamo else {"opset_version": 17}
        torch.onnx.export(network, (image,), str(path), dynamo=dynamo, verbose=False, **version)
    return str(path)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", ["Hybrid", "TalkingHeads", "ChannelAttention", "SequenceFirst"])
def test_networks_with_float_parts(tmp_path, name, dynamo):
    model = load_model(export(module(name), tmp_path / "m.onnx", dynamo), **NORM)
    images = torch.randn(3, CHANNELS, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(run_float(model, images), module(name)(images), rtol=1e-4, atol=1e-4)
    assert {"qkv", "proj", "fc1", "fc2", "head"} <= {layer.type for layer in model.layers} | {"proj"}
    assert float_parts(model)


def test_float16_is_computed_in_float32(tmp_path):
    """The file with its weights in float16 is the one with them rounded."""
    whole = onnx.load(export(module("Hybrid"), tmp_path / "m.onnx", False))
    for tensor in whole.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            rounded = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), tensor.name))
    onnx.save(whole, tmp_path / "rounded.onnx")
    for tensor in whole.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*whole.graph.input, *whole.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(whole, tmp_path / "half.onnx")
    images = torch.randn(2, CHANNELS, SIDE, SIDE)
    rounded, half = (load_model(str(tmp_path / f"{name}.onnx"), **NORM) for name in ("rounded", "half"))
    with torch.no_grad():
        assert torch.equal(run_float(rounded, images), run_float(half, images))


def test_a_quantized_file_is_refused(tmp_path):
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    codes = helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 3, 8, 8])
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.1])
    graph = helper.make_graph([helper.make_node("QuantizeLinear", ["x", "s"], ["y"])], "g", [image], [codes], [scale])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match=r"quantized already \(QuantizeLinear\); give the float model") as caught:
        load_model(str(tmp_path / "m.onnx"), **NORM)
    assert caught.value.exit_code == 3


class Positions(Hybrid):
    """Has its table of positions once for every image."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.randn(1, (SIDE // 4) ** 2, self.proj.out_features)
        self.first, self.second = nn.Parameter(table), nn.Parameter(table.clone())

    def embed(self, x):
        return super().embed(x) + torch.cat([self.first, self.second])


def test_a_table_held_several_times(tmp_path):
    torch.manual_seed(3)
    network = Positions().eval()
    tokens = super(Positions, network).embed(torch.zeros(2, CHANNELS, SIDE, SIDE)).shape[1]
    table = torch.randn(1, tokens, network.proj.out_features)
    network.first, network.second = nn.Parameter(table), nn.Parameter(table.clone())
    path = export(network, tmp_path / "m.onnx", False, batch=2)
    images = torch.randn(2, CHANNELS, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(run_float(load_model(path, **NORM), images), network(images), rtol=1e-4, atol=1e-4)


class Twice(nn.Module):
    """Adds one table in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 3, 8, 8))

    def forward(self, x):
        return torch.relu(x + self.table) * 2 + self.table


def test_a_constant_that_two_nodes_read_is_one(tmp_path):
    with torch.no_grad():
        torch.onnx.export(Twice(), (torch.randn(1, 3, 8, 8),), str(tmp_path / "m.onnx"), dynamo=False, opset_version=17)
    program = import_onnx(tmp_path / "m.onnx", None)
    assert [tuple(t.shape) for t in program.state_dict.values()] == [(1, 3, 8, 8)]


class Pyramid(Hybrid):
    """Pools, resizes both ways, and adds, on the way to its tokens."""

    def embed(self, x):
        x = nn.functional.hardswish(self.bn(self.stem(x)))
        small = nn.functional.max_pool2d(x, 3, 2, 1)
        wide = nn.functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
        near = nn.functional.interpolate(small, size=x.shape[-2:], mode="nearest")
        return self.down(x + wide + near).flatten(2).transpose(1, 2)


@pytest.mark.parametrize("dynamo", [False, True])
def test_resizing_in_a_file(tmp_path, dynamo):
    torch.manual_seed(4)
    network = Pyramid().eval()
    model = load_model(export(network, tmp_path / "m.onnx", dynamo), **NORM)
    images = torch.randn(2, CHANNELS, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(run_float(model, images), network(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", ["Dropout", "LayerNormalization"])
def test_outputs_that_a_rule_does_not_give_are_refused(tmp_path, op):
    kinds = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "y")]
    kind, width = (TensorProto.BOOL, 8) if op == "Dropout" else (TensorProto.FLOAT, 1)
    more = helper.make_tensor_value_info("m", kind, [1, 3, 8, width])
    weights = [helper.make_tensor("w", TensorProto.FLOAT, [8], [1.0] * 8)] if op == "LayerNormalization" else []
    node = helper.make_node(op, ["x", *(w.name for w in weights)], ["y", "m"])
    graph = helper.make_graph([node], "g", kinds[:1], [kinds[1], more], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match=f"{op} with 2 outputs"):
        load_model(str(tmp_path / "m.onnx"), **NORM)
