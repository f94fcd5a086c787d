"""Operators of ONNX as ONNX Runtime computes them, and those of constants that have no rule of their own."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.onnx.constants import evaluated
from lampq_tvm.frontend.onnx.ops import RULES
from lampq_tvm.frontend.onnx.read import _attributes


def constant(value: object, kind: type = np.int64) -> np.ndarray:
    return np.array(value, dtype=kind)


ROWS = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 11
FILTER = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
BLOCKS = np.arange(96, dtype=np.float32).reshape(2, 4, 2, 6)
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
CORNERS = {"coordinate_transformation_mode": "align_corners"}


def none() -> np.ndarray:
    """An input that is left out."""
    return np.zeros(0, np.float32)


OPERATORS = [
    ("Slice", [ROWS, constant([-1]), constant([-9]), constant([2]), constant([-2])], {}),
    ("Slice", [ROWS, constant([1, 0]), constant([2**62, 2]), constant([1, 2])], {}),
    ("Gather", [ROWS, constant(-1)], {"axis": 1}),
    ("Gather", [ROWS, constant([[2, 0], [-1, 1]])], {"axis": 1}),
    ("Split", [ROWS], {"axis": 2}),
    ("Split", [ROWS, constant([1, 3])], {"axis": -1}),
    ("Squeeze", [ROWS[:, :1], constant([1])], {}),
    ("Squeeze", [ROWS[:1, :1]], {}),
    ("Unsqueeze", [ROWS, constant([0, -1])], {}),
    ("Reshape", [ROWS, constant([0, -1])], {}),
    ("Transpose", [ROWS], {}),
    ("Flatten", [ROWS], {"axis": 2}),
    ("Expand", [ROWS[:, :1], constant([3, 1])], {}),
    ("Tile", [ROWS, constant([1, 2, 1])], {}),
    ("Pad", [ROWS, constant([0, 1, 0, 2, 0, 1]), constant(3, np.float32)], {}),
    ("Concat", [ROWS, ROWS], {"axis": 1}),
    ("ReduceMean", [ROWS], {"axes": [1], "keepdims": 0}),
    ("ReduceL2", [ROWS], {"axes": [2]}),
    ("Softmax", [ROWS], {"axis": 1}),
    ("LayerNormalization", [ROWS, ROWS[0, 0], ROWS[0, 1]], {"axis": -1, "epsilon": 0.1}),
    ("Gemm", [ROWS[0], ROWS[1], ROWS[0, :, 0]], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [ROWS[0], ROWS[1]], {"transA": 1}),
    ("Conv", [ROWS[None], np.ones((5, 2, 2, 2), np.float32)], {"strides": [1, 2], "pads": [1, 0, 1, 0]}),
    ("Conv", [ROWS[None], np.ones((2, 1, 1, 1), np.float32)], {"group": 2}),
    ("Div", [constant([7, -7]), constant([2, 2])], {}),
    ("Div", [ROWS, constant(3, np.float32)], {}),
    ("Pow", [ROWS, constant(2, np.float32)], {}),
    ("Clip", [ROWS, constant(-2, np.float32), constant(5, np.float32)], {}),
    ("Where", [ROWS > 0, ROWS, -ROWS], {}),
    ("Range", [constant(2), constant(9), constant(3)], {}),
    ("ConstantOfShape", [constant([2, 2])], {"value": numpy_helper.from_array(np.array([4.0], np.float32))}),
    ("Cast", [ROWS], {"to": TensorProto.INT64}),
    ("Shape", [ROWS], {"start": 1}),
    ("HardSwish", [ROWS], {}),
    ("Conv", [ROWS[None], np.ones((2, 1, 3, 3), np.float32)], {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    ("Conv", [ROWS[None], np.ones((2, 2, 2, 2), np.float32)], {"pads": [1, 0, 0, 2]}),
    ("Conv", [ROWS, np.ones((2, 3, 2), np.float32)], {"pads": [1, 1]}),
    ("ConvTranspose", [ROWS[None], FILTER], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]}),
    ("AveragePool", [ROWS[None]], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("AveragePool", [ROWS[None]], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("MaxPool", [ROWS[None]], {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "strides": [2, 2]}),
    ("GlobalAveragePool", [ROWS[None]], {}),
    ("GlobalMaxPool", [ROWS[None]], {}),
    ("BatchNormalization", [ROWS[None], *(np.array(v, np.float32) for v in ([1, 2], [3, 4], [5, 6], [7, 8]))], {}),
    ("InstanceNormalization", [ROWS[None], ROWS[0, 0, :2], ROWS[0, 1, :2]], {}),
    ("Resize", [ROWS[None], none(), constant([1, 1, 2, 2], np.float32)], NEAREST),
    *(
        ("Resize", [ROWS[None], none(), none(), constant([1, 2, *size])], {"nearest_mode": how, **where})
        for size in ([1, 2], [5, 7])
        for how in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for where in ({}, CORNERS, {"coordinate_transformation_mode": "asymmetric"})
    ),
    ("Resize", [ROWS[None], none(), none(), constant([1, 2, 5, 7])], {"mode": "linear"}),
    ("Resize", [ROWS[None], none(), none(), constant([1, 2, 5, 7])], {"mode": "linear", **CORNERS}),
    ("Resize", [ROWS[None], none(), none(), constant([1, 2, 5, 7])], {"mode": "cubic", "cubic_coeff_a": -0.75}),
    ("DepthToSpace", [BLOCKS], {"blocksize": 2}),
    ("DepthToSpace", [BLOCKS], {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", [BLOCKS], {"blocksize": 2}),
    ("ReduceSum", [ROWS, constant([0, 2])], {}),
    ("ReduceSum", [ROWS, constant([])], {"noop_with_empty_axes": 1}),
    ("ReduceMax", [ROWS], {"axes": [1], "keepdims": 0}),
    ("ReduceMin", [ROWS], {}),
    ("ReduceProd", [ROWS], {"axes": [0, 2]}),
    ("ReduceL1", [ROWS], {"axes": [-1]}),
    ("ReduceSumSquare", [ROWS], {"axes": [-1]}),
    ("ReduceLogSumExp", [ROWS], {"axes": [-1]}),
    ("ArgMax", [ROWS], {"axis": 1, "keepdims": 0}),
    ("ArgMin", [ROWS], {"axis": -1}),
    ("CumSum", [ROWS, constant(1)], {}),
    ("TopK", [ROWS, constant([2])], {"axis": 1}),
    ("TopK", [ROWS, constant([2])], {"largest": 0}),
    ("GatherElements", [ROWS, constant([[[0, -1, 1, 2]]] * 2)], {"axis": 1}),
    ("GatherND", [ROWS, constant([[0, -1], [1, 2]])], {}),
    ("GatherND", [ROWS, constant([[[2], [0]], [[1], [1]]])], {"batch_dims": 1}),
    ("ScatterElements", [ROWS, constant([[[0, -1, 1, 2]]]), np.ones((1, 1, 4), np.float32)], {"axis": 1}),
    ("ScatterND", [ROWS, constant([[0, 1], [1, 2]]), np.ones((2, 4), np.float32)], {}),
    ("OneHot", [constant([0, -1, 2]), constant([4]), constant([2, 5])], {"axis": 0}),
    ("Trilu", [ROWS, constant(1)], {}),
    ("Trilu", [ROWS], {"upper": 0}),
    ("Max", [ROWS, -ROWS, ROWS[0] + 5], {}),
    ("Max", [ROWS], {}),
    ("Min", [ROWS, -ROWS, ROWS[0] + 5], {}),
    ("Sum", [ROWS, ROWS, ROWS], {}),
    ("Clip", [ROWS], {}),
    ("OneHot", [constant([0, 7, -9]), constant([4]), constant([2, 5])], {}),
    ("LogSoftmax", [ROWS * 100], {"axis": -1}),
    ("Gemm", [ROWS[0], ROWS[1], ROWS[0, :1, :3]], {"transB": 1, "beta": 2.0}),
    ("Einsum", [ROWS, ROWS], {"equation": "b i k, b j k -> b i j"}),
    ("LogSoftmax", [ROWS], {"axis": 1}),
    ("LpNormalization", [ROWS + 0.5], {"axis": 1}),
    ("HardSigmoid", [ROWS], {"alpha": 0.1}),
    ("Mod", [ROWS, constant(3, np.float32)], {"fmod": 1}),
    ("Mod", [constant([7, -7, 7]), constant([3, 3, -3])], {}),
    ("Selu", [ROWS], {"alpha": 1.5, "gamma": 2.0}),
    ("PRelu", [ROWS, ROWS[0, 0]], {}),
    ("GreaterOrEqual", [ROWS, ROWS[::-1]], {}),
    ("LessOrEqual", [ROWS, ROWS[::-1]], {}),
    ("Xor", [ROWS > 0, ROWS > 3], {}),
    ("IsNaN", [np.log(ROWS.clip(-1, None) + 0.0)], {}),
    ("IsInf", [1 / ROWS.clip(0, 5)], {}),
    ("Size", [ROWS], {}),
    *(
        (op, [ROWS], {})
        for op in ("Abs", "Sign", "Round", "Sin", "Cos", "Atan", "Elu", "Celu", "Selu", "LeakyRelu", "Softplus")
    ),
    *((op, [ROWS], {}) for op in ("Erf", "Tanh", "Sigmoid", "Relu", "Neg", "Exp", "Floor", "Ceil", "Identity")),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), OPERATORS)
def test_onnx_operator_as_onnxruntime_runs_it(op: str, inputs: list[np.ndarray], attributes: dict) -> None:
    count = 2 if op in ("Split", "TopK") else 1
    outputs = [f"y{i}" for i in range(count)]
    names = [f"x{i}" if v.size or op == "ReduceSum" else "" for i, v in enumerate(inputs)]
    node = helper.make_node(op, names, outputs, **attributes)
    types = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in zip(names, inputs, strict=True)
        if n
    ]
    results = [onnx.ValueInfoProto(name=n) for n in outputs]
    model = helper.make_model(
        helper.make_graph([node], "g", types, results), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {n: v for n, v in zip(names, inputs, strict=True) if n})
    given = [torch.from_numpy(v.copy()) if n else None for n, v in zip(names, inputs, strict=True)]
    got = RULES[op](given, _attributes(node, 17))
    got = got if isinstance(got, list) else [got]
    assert len(got) == len(wanted)
    for mine, theirs in zip(got, wanted, strict=True):
        assert tuple(mine.shape) == theirs.shape
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-5, atol=1e-6)


def test_other_operators_of_constants_are_evaluated():
    node = helper.make_node("EyeLike", ["x"], ["y"], k=1)
    (found,) = evaluated(node, 17, [torch.zeros(2, 3)], 1000)
    assert found.tolist() == [[0, 1, 0], [0, 0, 1]]
    with pytest.raises(UnsupportedError, match="of an unknown size"):
        evaluated(node, 17, [torch.zeros(2, 3)], 10)
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "g", [], [onnx.ValueInfoProto(name="z")])
    with pytest.raises(UnsupportedError, match="ONNX operator If is not supported"):
        evaluated(helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body), 17, [torch.tensor(True)], 1000)
    (half,) = evaluated(helper.make_node("EyeLike", ["x"], ["y"], dtype=TensorProto.FLOAT16), 17, [torch.zeros(2, 2)], 1000)
    assert half.dtype is torch.float32
    with pytest.raises(UnsupportedError, match="ONNX operator RoiAlign is not supported"):
        evaluated(helper.make_node("RoiAlign", ["x", "r", "i"], ["y"]), 17, [torch.zeros(2, 2)] * 3, 1000)
    with pytest.raises(UnsupportedError, match="ONNX operator Bernoulli is not supported"):
        evaluated(helper.make_node("Bernoulli", ["x"], ["y"]), 17, [torch.zeros(2)], 1000)
    with pytest.raises(UnsupportedError, match="ONNX operator Nothing is not supported"):
        evaluated(helper.make_node("Nothing", ["x"], ["y"]), 17, [torch.zeros(2)], 1000)
