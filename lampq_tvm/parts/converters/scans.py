"""Sums and products of all elements up to each one: quadratic, and plain loops on every target."""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax, te, tirx
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import cast, computed, emit, lengths, wanted


def cumsum(node: fx.Node, importer: Any) -> Expr:
    """Sums."""
    x, axis = importer.retrieve_args(node)[:2]
    return _scanned(importer, cast(importer, x, wanted(node)), axis, te.sum, 0.0)


def cumprod(node: fx.Node, importer: Any) -> Expr:
    """Products."""
    x, axis = importer.retrieve_args(node)[:2]
    product = te.comm_reducer(lambda a, b: a * b, lambda t: tirx.const(1, t), name="product")
    return _scanned(importer, cast(importer, x, wanted(node)), axis, product, 1.0)


def logcumsumexp(node: fx.Node, importer: Any) -> Expr:
    """log of sums of exp(x - m), plus m: the largest up to there."""
    x, axis = importer.retrieve_args(node)[:2]
    shape = lengths(x)
    axis %= len(shape)
    largest = _scanned(importer, x, axis, te.max, None)

    def sums(source: te.Tensor, most: te.Tensor) -> te.Tensor:
        j = te.reduce_axis((0, shape[axis]), name="j")

        def element(*at: Any) -> Any:
            value = tirx.exp(source(*at[:axis], j, *at[axis + 1 :]) - most(*at))
            return te.sum(tirx.Select(j <= at[axis], value, tirx.const(0, source.dtype)), axis=[j])

        return te.compute(shape, element, name="sums")

    found = computed(importer, sums, x, largest, name="logcumsumexp")
    return emit(importer, relax.op.add(relax.op.log(found), largest))


def _scanned(importer: Any, x: Expr, axis: int, reduce: Any, neutral: float | None) -> Expr:
    """A reduction over all up to each; `neutral` changes nothing in it, None for the least of the type."""
    shape, dtype = lengths(x), str(x.ty.dtype)
    axis %= len(shape)

    def scan(source: te.Tensor) -> te.Tensor:
        j = te.reduce_axis((0, shape[axis]), name="j")

        def element(*at: Any) -> Any:
            value = source(*at[:axis], j, *at[axis + 1 :])
            other = tirx.min_value(dtype) if neutral is None else tirx.const(neutral, dtype)
            return reduce(tirx.Select(j <= at[axis], value, other), axis=[j])

        return te.compute(shape, element, name="scan")

    return computed(importer, scan, x, name="scan")


CONVERTERS = {"cumprod.default": cumprod, "cumsum.default": cumsum, "logcumsumexp.default": logcumsumexp}
