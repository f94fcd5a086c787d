"""Linear layers: products with an epilogue."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.op import Op
from lampq_tvm.network.operators.linear import Linear
from lampq_tvm.quantize.build_rules import HEADS, PAYLOAD, REALS, SUMS
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.operators.product import QProduct
from lampq_tvm.quantize.product import Product

F64 = npt.NDArray[np.float64]


@REALS.register(Linear)
def product_float(b: Builder, op: Linear) -> str:
    """A layer's output as it is."""
    return float_product(b, op.name, op, "float", b.product(op))


@SUMS.register(Linear)
def add_product(b: Builder, op: Linear, total: Op, stream: str, factor: F64) -> str:
    """A layer's output times `factor` [N], added to the stream."""
    return float_product(b, total.name, op, "residual", b.product(op).times(factor), stream)


@HEADS.register(Linear)
def product_codes(b: Builder, op: Linear, attention: Op, scales: F64) -> str:
    """Symmetric codes of a layer's output with one scale [parts, heads] for each head of each part."""
    p, row = b.product(op), b.plan.layer(op.name)
    made = QProduct(op.name, (b.codes(op),), "codes", row.w_bits, row.a_bits, b.plan.attention_bits)
    per_output = np.repeat(scales.reshape(-1), len(p.S) // scales.size)
    M, B = (p.S / per_output).astype(np.float32), (p.B / per_output).astype(np.float32)
    return b.add(made, w=p.codes, M=M, B=B)


def float_product(b: Builder, name: str, op: Linear, epilogue: str, p: Product, *more: str) -> str:
    """A product called `name` whose output is float32; `more` are further inputs."""
    row = b.plan.layer(op.name)
    made = QProduct(name, (b.codes(op), *more), epilogue, row.w_bits, row.a_bits, 8)
    return b.add(made, w=p.codes, S=p.S.astype(np.float32), B=p.B.astype(np.float32))


@PAYLOAD.register(Linear)
def linear_bytes(model: ImportedModel, op: Linear, floats: Collection[str]) -> int:
    """M or S, and B, of each channel."""
    return 8 * len(model.tensors[f"{op.name}.weight"])
