"""Elements by their places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import fx
from tvm import relax, te, tirx
from tvm.ir import Expr

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.parts.converters.emit import cast, computed, emit, lengths


def index(node: fx.Node, importer: Any) -> Expr:
    """Elements by arrays of indices along neighbouring axes: one flat index, and one take."""
    x, indices = importer.retrieve_args(node)[:2]
    before, inside, after, flat, each = _flat(node, importer, x, indices)
    joined = emit(importer, relax.op.reshape(x, [*before, inside, *after]))
    taken = emit(importer, relax.op.take(joined, flat, axis=len(before)))
    return emit(importer, relax.op.reshape(taken, [*before, *each, *after]))


def index_put(node: fx.Node, importer: Any) -> Expr:
    """Values put where arrays of indices say, the last one of a place, or added to what is there."""
    x, indices, values, *given = importer.retrieve_args(node)
    shape = lengths(x)
    if len(indices) == 1 and str(indices[0].ty.dtype) == "bool" and lengths(indices[0]) == shape and not any(given):
        return emit(importer, relax.op.where(indices[0], relax.op.broadcast_to(values, shape), x))
    before, inside, after, flat, each = _flat(node, importer, x, indices)
    whole = emit(importer, relax.op.broadcast_to(values, [*before, *each, *after]))
    count, first = math.prod(each), math.prod(before)
    new = emit(importer, relax.op.reshape(whole, [first, count, -1]))
    old = emit(importer, relax.op.reshape(x, [first, inside, -1]))

    def put(source: te.Tensor, added: te.Tensor, at: te.Tensor) -> te.Tensor:
        n, rows = te.reduce_axis((0, count), name="n"), source.shape
        if given and given[0]:
            zero = tirx.const(0, source.dtype)

            def total(b: Any, i: Any, c: Any) -> Any:
                return te.sum(tirx.Select(at[n] == i, added[b, n, c], zero), axis=[n])

            sums = te.compute(rows, total, name="sums")
            return te.compute(rows, lambda b, i, c: source[b, i, c] + sums[b, i, c], name="put")
        none = tirx.const(-1, n.var.ty.dtype)
        last = te.compute((inside,), lambda i: te.max(tirx.Select(at[n] == i, n, none), axis=[n]), name="last")

        def element(b: Any, i: Any, c: Any) -> Any:
            return tirx.if_then_else(last[i] >= 0, added[b, tirx.max(last[i], 0), c], source[b, i, c])

        return te.compute(rows, element, name="put")

    return emit(importer, relax.op.reshape(computed(importer, put, old, new, flat, name="index_put"), shape))


def _flat(node: fx.Node, importer: Any, x: Expr, indices: Any) -> tuple[list[int], int, list[int], Expr, list[int]]:
    """Lengths before the indexed axes, their product, lengths behind them; one index [n] into them, and its own shape."""
    axes = [i for i, each in enumerate(indices) if each is not None]
    if axes != list(range(axes[0], axes[-1] + 1)):
        raise UnsupportedError("indices along axes that are apart", where=node.name)
    if any(str(indices[i].ty.dtype) == "bool" for i in axes):
        raise UnsupportedError("indices that are conditions", where=node.name)
    shape = lengths(x)
    each = list(np.broadcast_shapes(*(tuple(lengths(indices[i])) for i in axes)))
    flat = None
    for i in axes:
        at = _wrapped(importer, indices[i], shape[i])
        flat = at if flat is None else emit(importer, relax.op.add(_scaled(importer, flat, shape[i]), at))
    whole = emit(importer, relax.op.reshape(emit(importer, relax.op.broadcast_to(flat, each)), [-1]))
    return shape[: axes[0]], math.prod(shape[axes[0] : axes[-1] + 1]), shape[axes[-1] + 1 :], whole, each


def scatter(node: fx.Node, importer: Any) -> Expr:
    """Elements of the source put, or added, where indices of its own rank say along an axis; the last one of a place stays."""
    x, axis, indices, source = importer.retrieve_args(node)[:4]
    shape, reach = lengths(x), lengths(indices)
    axis %= len(shape)
    adds = "add" in str(node.target)

    def put(old: te.Tensor, at: te.Tensor, given: te.Tensor) -> te.Tensor:
        j = te.reduce_axis((0, reach[axis]), name="j")

        def place(index: tuple[Any, ...]) -> tuple[Any, ...]:
            near = [tirx.min(i, n - 1) for i, n in zip(index, reach, strict=True)]
            return (*near[:axis], j, *near[axis + 1 :])

        def here(index: tuple[Any, ...]) -> Any:
            inside = [i < n for a, (i, n, m) in enumerate(zip(index, reach, shape, strict=True)) if a != axis and n < m]
            return tirx.all(*inside, at(*place(index)) == tirx.Cast(at.dtype, index[axis]))

        if adds:
            zero = tirx.const(0, old.dtype)
            sums = te.compute(shape, lambda *i: te.sum(tirx.Select(here(i), given(*place(i)), zero), axis=[j]), name="sums")
            return te.compute(shape, lambda *i: old(*i) + sums(*i), name="put")
        last = te.compute(shape, lambda *i: te.max(tirx.Select(here(i), tirx.Cast("int32", j), -1), axis=[j]), name="last")

        def element(*i: Any) -> Any:
            near = [tirx.min(each, n - 1) for each, n in zip(i, reach, strict=True)]
            taken = given(*near[:axis], tirx.max(last(*i), 0), *near[axis + 1 :])
            return tirx.if_then_else(last(*i) >= 0, taken, old(*i))

        return te.compute(shape, element, name="put")

    return computed(importer, put, x, indices, source, name="scatter")


def unfold(node: fx.Node, importer: Any) -> Expr:
    """Windows along an axis, which overlap where the step is shorter than they are."""
    x, axis, size, step = importer.retrieve_args(node)[:4]
    shape = lengths(x)
    axis %= len(shape)
    count = (shape[axis] - size) // step + 1
    at = (np.arange(count)[:, None] * step + np.arange(size)).reshape(-1)
    taken = emit(importer, relax.op.take(x, relax.const(at.astype("int64")), axis=axis))
    parted = emit(importer, relax.op.reshape(taken, [*shape[:axis], count, size, *shape[axis + 1 :]]))
    order = [i for i in range(len(shape) + 1) if i != axis + 1]
    return emit(importer, relax.op.permute_dims(parted, [*order, axis + 1]))


def _scaled(importer: Any, x: Expr, factor: int) -> Expr:
    return emit(importer, relax.op.multiply(x, relax.const(factor, "int64")))


def _wrapped(importer: Any, at: Expr, length: int) -> Expr:
    """Indices of which negative ones count from the end."""
    at = cast(importer, at, "int64")
    negative = emit(importer, relax.op.less(at, relax.const(0, "int64")))
    return emit(importer, relax.op.where(negative, emit(importer, relax.op.add(at, relax.const(length, "int64"))), at))


CONVERTERS = {
    "index.Tensor": index,
    "index_put.default": index_put,
    "scatter.src": scatter,
    "scatter_add.default": scatter,
    "unfold.default": unfold,
}
