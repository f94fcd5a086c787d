"""Linear layers: products with an epilogue."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.kinds import Encode
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.op import Op
from lampq_tvm.network.operators.linear import Linear
from lampq_tvm.quantize.build_rules import HEADS, PAYLOAD, REALS, SUMS
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.operators.product import QProduct
from lampq_tvm.quantize.operators.to_codes import QToCodes
from lampq_tvm.quantize.product import Product
from lampq_tvm.quantizers.carried import PLANE

F64 = npt.NDArray[np.float64]


@REALS.register(Linear)
def product_float(b: Builder, op: Linear) -> str:
    """A layer's output as it is."""
    return float_product(b, op.name, op, b.product(op))


@SUMS.register(Linear)
def add_product(b: Builder, op: Linear, total: Op, stream: str, factor: F64) -> str:
    """A layer's output times `factor` [N], added to the stream."""
    return float_product(b, total.name, op, b.product(op).times(factor), stream)


@HEADS.register(Linear)
def product_codes(b: Builder, op: Linear, attention: Op, scales: F64) -> str:
    """Symmetric codes of a layer's output with one scale [parts, heads] for each head of each part."""
    p = b.product(op)
    per_output = np.repeat(scales.reshape(-1), len(p.S) // scales.size)
    return coded_product(
        b, op.name, op, p.mapped(p.S / per_output, p.B / per_output), Encode(b.plan.attention_of(attention.name))
    )


def coded_product(b: Builder, name: str, op: Linear, p: Product, encode: Encode, **table: npt.NDArray[Any]) -> str:
    """A product called `name` whose output is codes, in whose units S acc + B is; `table` is that of `encode`.

    Of two planes the codes are made of the float32 sum.
    """
    row, codes = b.plan.layer(op.name), b.codes(op)
    if len(codes) > 1:
        units = float_product(b, f"{name}.units", op, p, codes=codes)
        return b.add(QToCodes(name, (units,), encode), affine=np.array([1, 0], np.float32), **table)
    made = QProduct(name, codes, "codes", row.w, b.input_kind(op), encode, "", *b.decoding(op))
    return b.add(made, **p.weights, M=p.S.astype(np.float32), B=p.B.astype(np.float32), **table)


def float_product(
    b: Builder, name: str, op: Linear, p: Product, stream: str | None = None, *, codes: tuple[str, ...] = ()
) -> str:
    """A product called `name` whose output is float32, added to `stream`.

    Of two planes the high one is added first: fl(fl(stream + fma(fl(acc_high), 256 S, 0)) + fma(fl(acc_low), S, B)).
    """
    row, (*high, low) = b.plan.layer(op.name), codes or b.codes(op)
    parts = [(plane, f"{name}.part", PLANE * p.S, np.zeros(len(p.B))) for plane in high]
    for plane, part, S, B in (*parts, (low, name, p.S, p.B)):
        more, epilogue = ((), "float") if stream is None else ((stream,), "residual")
        made = QProduct(part, (plane, *more), epilogue, row.w, b.input_kind(op), None, "", *b.decoding(op))
        stream = b.add(made, **p.weights, S=S.astype(np.float32), B=B.astype(np.float32))
    return name


@PAYLOAD.register(Linear)
def linear_bytes(model: ImportedModel, op: Linear, floats: Collection[str]) -> int:
    """M or S, and B, of each channel."""
    return 8 * len(model.tensors[f"{op.name}.weight"])
