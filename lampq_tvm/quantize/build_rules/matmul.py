"""Matrix products of two computed values: on codes where those lose little, else in float."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from lampq_tvm.kinds import Encode
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.float_part import Node
from lampq_tvm.network.operators.matmul import MatMul
from lampq_tvm.quantize import constants
from lampq_tvm.quantize.build_rules import PAYLOAD, REALS
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.operators.float_part import QFloatPart
from lampq_tvm.quantize.operators.matmul import QMatMul
from lampq_tvm.quantize.operators.to_codes import QToCodes


@REALS.register(MatMul)
def matmul(b: Builder, op: MatMul) -> str:
    """The product as it is, from codes of both operands."""
    left, right = (b.calibration.preactivations.get(name) for name in op.operands)
    if b.plan.float_attention or left is None or right is None:
        return _in_float(b, op)
    depth, largest = b.model.shapes[op.inputs[0]][-1], max(left.high - left.zero, left.zero - left.low)
    if not constants.fits(depth, largest, -right.low):
        return _in_float(b, op)
    codes = []
    for name, source, x in zip(op.operands, op.inputs, (left, right), strict=True):
        made = QToCodes(name, (b.real(source),), Encode(x.kind))
        codes.append(b.add(made, affine=constants.to_codes(x)))
    scale = np.array([left.scale * right.scale], np.float32)
    return b.add(QMatMul(op.name, tuple(codes), op.transposed, left.zero), S=scale)


def _in_float(b: Builder, op: MatMul) -> str:
    """As a part of the source model."""
    turned = [Node("aten.transpose.int", ({"value": 1}, -1, -2))] if op.transposed else []
    product = Node("aten.matmul.default", ({"value": 0}, {"value": 1 + len(turned)}))
    ins = tuple(_sizes(b, name) for name in op.inputs)
    return b.add(QFloatPart(op.name, tuple(map(b.real, op.inputs)), (*turned, product), ins, _sizes(b, op.name)))


def _sizes(b: Builder, name: str) -> tuple[Any, ...]:
    return {"images": 1}, *b.model.shapes[name]


@PAYLOAD.register(MatMul)
def matmul_bytes(model: ImportedModel, op: MatMul, floats: Collection[str]) -> int:
    """S, and what its operands are encoded by."""
    return 0 if "attention" in floats else 4 + 2 * 8
