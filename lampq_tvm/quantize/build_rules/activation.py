"""Activation functions: a table behind a product, and a float32 table of a gate."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from lampq_tvm.kinds import Encode, Kind
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.activation import Activation, Gate
from lampq_tvm.quantize import constants
from lampq_tvm.quantize.build_rules import CODES, PAYLOAD, REALS
from lampq_tvm.quantize.build_rules.linear import coded_product, float_product
from lampq_tvm.quantize.builder import Builder, Wanted
from lampq_tvm.quantize.operators.gate import QGate
from lampq_tvm.quantize.operators.product import QProduct


@CODES.register(Activation)
def activation_codes(b: Builder, op: Activation, wanted: Wanted) -> str:
    """The layer's epilogue: a table, or in a float16 layer the function itself."""
    linear, x, y = b.linear_before(op, 0), b.calibration.preactivations[op.name], wanted.y
    p, row = b.product(linear), b.plan.layer(linear.name)
    if row.is_float:
        made = QProduct(wanted.name, b.codes(linear), "act", row.w, row.a, y.encode, op.kind)
        S, B, affine = p.S.astype(np.float32), p.B.astype(np.float32), constants.to_codes(y.grid)
        return b.add(made, **p.weights, S=S, B=B, affine=affine, **y.tensors)
    units = p.mapped(p.S / x.scale, p.B / x.scale + x.zero)
    table = constants.activation_table(op.kind, x, y)
    return coded_product(b, wanted.name, linear, units, Encode(Kind.INT8, y.kind), table=table)


@REALS.register(Gate)
def gate(b: Builder, op: Gate) -> str:
    """The gate's layer gives 8-bit codes before rounding, so that one product serves gate and value of one layer."""
    x, columns = b.calibration.preactivations[op.name], slice(op.gate_at, op.gate_at + op.width)
    layers = [b.linear_before(op, i) for i in (0, 1)]
    p = b.product(layers[0])
    S, B = p.S.copy(), p.B.copy()
    S[columns], B[columns] = p.S[columns] / x.scale, p.B[columns] / x.scale + x.zero
    made = float_product(b, layers[0].name, layers[0], p.mapped(S, B))
    value = made if layers[1].name == layers[0].name else b.real(layers[1].name)
    table = constants.gate_table(op.kind, x)
    return b.add(QGate(op.name, (made, value), op.gate_at, op.value_at, op.width), table=table)


@PAYLOAD.register(Activation)
def activation_bytes(model: ImportedModel, op: Activation, floats: Collection[str]) -> int:
    """A table, of two bytes an entry before a float16 layer; two floats after one, which has none."""
    if op.inputs[0] in floats:
        return 8
    return 512 if any(reader.name in floats for reader in model.consumers(op.name)) else 256


@PAYLOAD.register(Gate)
def gate_bytes(model: ImportedModel, op: Gate, floats: Collection[str]) -> int:
    """A table of floats."""
    return 1024
