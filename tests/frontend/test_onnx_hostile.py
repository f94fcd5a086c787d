"""ONNX files that lie: each is refused in one line, before memory is taken for what it claims."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lampq_tvm.errors import LampqError, UnsupportedError, UsageError
from lampq_tvm.frontend.load import load_model

NORM = {"mean": [0.5], "std": [0.25]}
HUGE = [1 << 20, 1 << 20]


def graph(nodes, initializers=(), image=(1, 3, 8, 8), output="y"):
    shapes = {"x": image, output: (1, 3, 8, 8)}
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    return helper.make_graph(list(nodes), "g", made[:1], made[1:], list(initializers))


def save(path: Path, made: onnx.GraphProto, **options: object) -> Path:
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **options), path)
    return path


def node(kind, *inputs, out="y", **attributes):
    return helper.make_node(kind, list(inputs), [out], **attributes)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def tensor(name="w", dims=(2,), kind=TensorProto.FLOAT, raw=b"\0" * 8):
    made = TensorProto(name=name, data_type=kind, dims=dims)
    made.raw_data = raw
    return made


def refused(path: Path, error: type[LampqError] = LampqError) -> str:
    """The line; no more than a gigabyte may have been taken for it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(error) as caught:
        load_model(str(path), **NORM)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20
    line = str(caught.value)
    assert line.isprintable() and len(line) < 600 + len(str(path)), line
    return line


TENSORS = {
    "too short": tensor(dims=(3,)),
    "too long": tensor(dims=(1,)),
    "another dtype": tensor(kind=TensorProto.DOUBLE),
    "a negative axis": tensor(dims=(-2,)),
    "two negative axes": tensor(dims=(-2, -1)),
    "an overflow": tensor(dims=(1 << 32, 1 << 32)),
    "an overflow to what is there": tensor(dims=(1 << 62, 4, 2)),
    "no name": tensor(name=""),
    "two kinds of data": TensorProto(name="w", data_type=1, dims=(1,), float_data=[1.0], int32_data=[1]),
    "data of another kind": TensorProto(name="w", data_type=1, dims=(1,), int64_data=[1]),
}


@pytest.mark.parametrize("case", TENSORS)
def test_a_tensor_that_lies_is_a_broken_file(case, tmp_path):
    made = graph([node("Identity", "x")])
    made.initializer.append(TENSORS[case])
    refused(save(tmp_path / "m.onnx", made), UsageError)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.UINT64, 23, 99, 0])
def test_a_tensor_of_a_type_that_is_not_served(kind, tmp_path):
    made = graph([node("Identity", "x")])
    made.initializer.append(tensor(kind=kind))
    assert "tensors of type" in refused(save(tmp_path / "m.onnx", made), UnsupportedError)


SHAPE = ints("s", *HUGE)
GROWING = {
    "ConstantOfShape": [node("ConstantOfShape", "s", out="c")],
    "Expand": [node("Expand", "one", "s", out="c")],
    "Tile": [node("Tile", "square", "s", out="c")],
    "Range": [node("Range", "zero", "end", "step", out="c")],
    "Pad": [node("Pad", "square", "pads", out="c")],
    "an outer product": [node("Mul", "tall", "wide", out="c")],
    "a matrix product": [node("MatMul", "tall", "wide", out="c")],
    "Concat": [node("Concat", *["tall"] * 2000, out="c", axis=0)],
    "many constants": [node("Mul", "tall", "tall", out=f"c{i}") for i in range(1200)],
    "Gather": [node("Gather", "tall", "places", out="c")],
}
LARGE = [
    SHAPE,
    ints("pads", 1 << 20, 1 << 20, 1 << 20, 1 << 20),
    ints("zero"),
    numpy_helper.from_array(np.array(0, np.int64), "zero"),
    numpy_helper.from_array(np.array(1 << 40, np.int64), "end"),
    numpy_helper.from_array(np.array(1, np.int64), "step"),
    numpy_helper.from_array(np.ones((1, 1), np.float32), "one"),
    numpy_helper.from_array(np.ones((2, 2), np.float32), "square"),
    numpy_helper.from_array(np.ones((1 << 18, 1), np.float32), "tall"),
    numpy_helper.from_array(np.ones((1, 1 << 18), np.float32), "wide"),
    numpy_helper.from_array(np.zeros((1 << 12, 1), np.int64), "places"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", GROWING)
def test_a_constant_that_grows_is_refused_before_it_is_made(case, tmp_path):
    held = {made.name: made for made in LARGE}
    used = {name for n in GROWING[case] for name in n.input} & held.keys()
    if case == "Gather":  # rows of a megabyte, taken 4,096 times
        held["tall"] = numpy_helper.from_array(np.ones((1, 1 << 18), np.float32), "tall")
    made = graph([*GROWING[case], node("Identity", "x")], [held[name] for name in sorted(used)])
    line = refused(save(tmp_path / "m.onnx", made), UnsupportedError)
    assert "bytes" in line


@pytest.mark.parametrize("image", [(1, 3, 1 << 20, 1 << 20), (1 << 30, 3, 8, 8), (1, -3, 8, 8), (1, 3, -8, -8)])
def test_an_image_that_is_too_large_or_negative(image, tmp_path):
    refused(save(tmp_path / "m.onnx", graph([node("Identity", "x")], image=image)))


BROKEN = {
    "a cycle": [node("Add", "a", "x", out="b"), node("Add", "b", "x", out="a"), node("Identity", "a")],
    "an unknown name": [node("Identity", "nobody")],
    "no output": [node("Identity", "x", out="z")],
    "a name made twice": [node("Identity", "x"), node("Relu", "x")],
    "no inputs": [helper.make_node("Add", [], ["y"])],
    "no outputs": [helper.make_node("Relu", ["x"], [])],
    "an axis that is not there": [node("Softmax", "x", axis=9)],
    "an attribute of another type": [node("Softmax", "x", axis="one")],
    "no attribute": [node("Concat", "x", "x")],
    "an unknown operator": [node("No\nSuch" * 1000, "x")],
    "a text that is none": [node("Gelu", "x", approximate=b"\xff\xfe")],
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_graph_that_does_not_hold_together(case, tmp_path):
    refused(save(tmp_path / "m.onnx", graph(BROKEN[case])))


TEXTS = {
    "a node's name": lambda made: setattr(made.graph.node[0], "name", "/QQQQ/a/MatMul"),
    "an operator": lambda made: setattr(made.graph.node[0], "op_type", "QQQQ"),
    "a value's name": lambda made: made.graph.node[0].output.append("QQQQ"),
    "an attribute's name": lambda made: made.graph.node[0].attribute.append(helper.make_attribute("QQQQ", 1)),
    "a weight's name": lambda made: setattr(made.graph.initializer[0], "name", "QQQQ"),
    "a domain": lambda made: setattr(made.opset_import[0], "domain", "QQQQ"),
    "a note of the exporter": lambda made: made.graph.node[0].metadata_props.add(
        key="pkg.torch.onnx.name_scopes", value="QQQQ"
    ),
    "a text for people": lambda made: setattr(made, "doc_string", "QQQQ"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_that_is_not_utf8(case, tmp_path):
    """Protobuf hands it out as bytes."""
    made = helper.make_model(graph([node("MatMul", "x", "w")], [tensor()]), opset_imports=[helper.make_opsetid("", 17)])
    TEXTS[case](made)
    data = made.SerializeToString()
    assert data.count(b"QQQQ") == 1
    (tmp_path / "m.onnx").write_bytes(data.replace(b"QQQQ", b"\xff\xfeQ\xff"))
    assert "UTF-8" in refused(tmp_path / "m.onnx", UsageError)


def test_functions_that_grow_or_call_themselves(tmp_path):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]

    def function(name, calls):
        nodes = [helper.make_node(calls, ["a"], [f"b{i}"], domain="f" if calls != "Relu" else "") for i in range(10)]
        return helper.make_function("f", name, ["a"], ["b0"], nodes, opsets)

    laughs = [function("f0", "Relu"), *(function(f"f{i}", f"f{i - 1}") for i in range(1, 9))]
    start = helper.make_node("f8", ["x"], ["y"], domain="f")
    for functions in (laughs, [function("f8", "f8")], [function("f8", "f7"), function("f7", "f8")]):
        made = helper.make_model(graph([start]), opset_imports=opsets, ir_version=8, functions=functions)
        onnx.save(made, tmp_path / "m.onnx")
        refused(tmp_path / "m.onnx")


def test_external_data_read_again_and_again(tmp_path):
    (tmp_path / "data").write_bytes(bytes(1 << 20))
    made = graph([node("Identity", "x")])
    for i in range(4000):
        one = TensorProto(name=f"w{i}", data_type=1, dims=(1 << 18,), data_location=TensorProto.EXTERNAL)
        one.external_data.add(key="location", value="data")
        made.initializer.append(one)
    assert "external data" in refused(save(tmp_path / "m.onnx", made), UsageError)


def test_sparse_weights(tmp_path):
    made = graph([node("Identity", "x")])
    sparse = helper.make_sparse_tensor(tensor("v"), ints("i", 0, 1 << 40), [1 << 41])
    made.sparse_initializer.append(sparse)
    refused(save(tmp_path / "m.onnx", made), UnsupportedError)
