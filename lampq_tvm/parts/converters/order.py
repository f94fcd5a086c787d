"""Sorting, by ranks: how many elements come before each, ties in their order. Quadratic, and plain loops on every target.

rank[i] = number of j with x[j] before x[i], or equal and j < i        sorted[r] = x[i] where rank[i] = r
"""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax, te, tirx
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import arguments, computed, emit, lengths


def topk(node: fx.Node, importer: Any) -> Expr:
    """The first k of the sorted axis, and where they were."""
    x, k, axis, largest = arguments(node, importer, None, None, -1, True)[:4]
    return relax.Tuple(_ordered(importer, x, axis, largest, k))


def sort(node: fx.Node, importer: Any) -> Expr:
    """The sorted axis, and where its elements were."""
    x, axis, descending = arguments(node, importer, None, -1, False)
    return relax.Tuple(_ordered(importer, x, axis, descending, lengths(x)[axis]))


def stable_sort(node: fx.Node, importer: Any) -> Expr:
    """The same, where the order of ties is said."""
    x, given = importer.env[node.args[0]], dict[str, Any](node.kwargs)
    axis, descending = given.get("dim", -1), given.get("descending", False)
    return relax.Tuple(_ordered(importer, x, axis, descending, lengths(x)[axis]))


def argsort(node: fx.Node, importer: Any) -> Expr:
    """Where the elements of the sorted axis were."""
    x, axis, descending = arguments(node, importer, None, -1, False)
    return _ordered(importer, x, axis, descending, lengths(x)[axis])[1]


def median(node: fx.Node, importer: Any) -> Expr:
    """The lower one of the two in the middle, and where it was."""
    x, axis, keep = arguments(node, importer, None, -1, False)
    return _kth(importer, x, (lengths(x)[axis] - 1) // 2, axis, keep)


def kthvalue(node: fx.Node, importer: Any) -> Expr:
    """The k-th smallest, counted from one, and where it was."""
    x, k, axis, keep = arguments(node, importer, None, None, -1, False)
    return _kth(importer, x, k - 1, axis, keep)


def _kth(importer: Any, x: Expr, k: int, axis: int, keep: bool) -> Expr:
    found = _ordered(importer, x, axis, False, k + 1)
    places = relax.const([k], "int64")
    taken = [emit(importer, relax.op.take(each, places, axis=axis)) for each in found]
    return relax.Tuple(taken if keep else [emit(importer, relax.op.squeeze(each, axis)) for each in taken])


def _ordered(importer: Any, x: Expr, axis: int, descending: bool, count: int) -> list[Expr]:
    """The first elements of an axis in their order, and their places (int64)."""
    shape = lengths(x)
    axis %= len(shape)
    out = [*shape[:axis], count, *shape[axis + 1 :]]

    def ranks(source: te.Tensor) -> te.Tensor:
        j = te.reduce_axis((0, shape[axis]), name="j")

        def rank(*at: Any) -> Any:
            mine, other = source(*at), source(*at[:axis], j, *at[axis + 1 :])
            before = other > mine if descending else other < mine
            return te.sum(tirx.Cast("int32", tirx.any(before, tirx.all(other == mine, j < at[axis]))), axis=[j])

        return te.compute(shape, rank, name="rank")

    def placed(rank: te.Tensor) -> te.Tensor:
        i = te.reduce_axis((0, shape[axis]), name="i")

        def place(*at: Any) -> Any:
            here = rank(*at[:axis], i, *at[axis + 1 :]) == tirx.Cast("int32", at[axis])
            return te.sum(tirx.Select(here, tirx.Cast("int64", i), tirx.const(0, "int64")), axis=[i])

        return te.compute(out, place, name="place")

    def taken(source: te.Tensor, place: te.Tensor) -> te.Tensor:
        return te.compute(out, lambda *at: source(*at[:axis], place(*at), *at[axis + 1 :]), name="taken")

    places = computed(importer, placed, computed(importer, ranks, x, name="ranks"), name="places")
    return [computed(importer, taken, x, places, name="taken"), places]


CONVERTERS = {
    "argsort.default": argsort,
    "kthvalue.default": kthvalue,
    "median.dim": median,
    "sort.default": sort,
    "sort.stable": stable_sort,
    "topk.default": topk,
}
