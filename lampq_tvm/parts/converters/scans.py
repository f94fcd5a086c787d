"""Sums and products of all elements up to each one: quadratic, and plain loops on every target."""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax, te, tirx
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import computed, emit, lengths


def cumsum(node: fx.Node, importer: Any) -> Expr:
    """Sums."""
    x, axis = importer.retrieve_args(node)[:2]
    return _scanned(importer, x, axis, te.sum, 0.0)


def cumprod(node: fx.Node, importer: Any) -> Expr:
    """Products."""
    x, axis = importer.retrieve_args(node)[:2]
    product = te.comm_reducer(lambda a, b: a * b, lambda t: tirx.const(1, t), name="product")
    return _scanned(importer, x, axis, product, 1.0)


def logcumsumexp(node: fx.Node, importer: Any) -> Expr:
    """log of sums of exp, with the axis' maximum taken out."""
    x, axis = importer.retrieve_args(node)[:2]
    most = emit(importer, relax.op.max(x, axis=axis, keepdims=True))
    sums = _scanned(importer, emit(importer, relax.op.exp(relax.op.subtract(x, most))), axis, te.sum, 0.0)
    return emit(importer, relax.op.add(relax.op.log(sums), most))


def _scanned(importer: Any, x: Expr, axis: int, reduce: Any, neutral: float) -> Expr:
    shape, dtype = lengths(x), str(x.ty.dtype)
    axis %= len(shape)

    def scan(source: te.Tensor) -> te.Tensor:
        j = te.reduce_axis((0, shape[axis]), name="j")

        def element(*at: Any) -> Any:
            value = source(*at[:axis], j, *at[axis + 1 :])
            return reduce(tirx.Select(j <= at[axis], value, tirx.const(neutral, dtype)), axis=[j])

        return te.compute(shape, element, name="scan")

    return computed(importer, scan, x, name="scan")


CONVERTERS = {"cumprod.default": cumprod, "cumsum.default": cumsum, "logcumsumexp.default": logcumsumexp}
