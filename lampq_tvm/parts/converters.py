"""Operators of torch's that TVM's importer does not know, or takes wrongly, in Relax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import fx
from tvm import relax
from tvm.ir import Expr

from lampq_tvm.errors import UnsupportedError


def amax(node: fx.Node, importer: Any) -> Expr:
    """Maximum over axes."""
    x, *rest = importer.retrieve_args(node)
    axes, keep = (*rest, None, False)[:2]
    return _emit(importer, relax.op.max(x, axis=list(axes) if axes else None, keepdims=bool(keep)))


def largest(node: fx.Node, importer: Any) -> Expr:
    """Maximum along an axis, and where it is."""
    x, axis, *keep = importer.retrieve_args(node)
    kept = bool(keep and keep[0])
    at = relax.op.argmax(x, axis=axis, keepdims=kept)
    return relax.Tuple([_emit(importer, relax.op.max(x, axis=axis, keepdims=kept)), _emit(importer, at)])


def divide(node: fx.Node, importer: Any) -> Expr:
    """Division rounded down, or toward zero."""
    x, y = importer.retrieve_args(node)[:2]
    dtype = str(x.ty.dtype)
    quotient = _emit(importer, relax.op.divide(x, relax.const(y, dtype) if isinstance(y, (int, float)) else y))
    rounding = {"floor": relax.op.floor, "trunc": relax.op.trunc}.get(str(node.kwargs.get("rounding_mode")))
    return quotient if rounding is None else _emit(importer, rounding(quotient))


def index(node: fx.Node, importer: Any) -> Expr:
    """Elements by arrays of indices along neighbouring axes: one flat index, and one take."""
    x, indices = importer.retrieve_args(node)[:2]
    axes = [i for i, each in enumerate(indices) if each is not None]
    if axes != list(range(axes[0], axes[-1] + 1)):
        raise UnsupportedError("indices along axes that are apart", where=node.name)
    shape = [int(n) for n in x.ty.shape]
    each = np.broadcast_shapes(*(tuple(int(n) for n in indices[i].ty.shape) for i in axes))
    flat = None
    for i in axes:
        at = _wrapped(importer, indices[i], shape[i])
        flat = at if flat is None else _emit(importer, relax.op.add(_scaled(importer, flat, shape[i]), at))
    before, inside, after = shape[: axes[0]], shape[axes[0] : axes[-1] + 1], shape[axes[-1] + 1 :]
    joined = _emit(importer, relax.op.reshape(x, [*before, int(np.prod(inside)), *after]))
    whole = _emit(importer, relax.op.broadcast_to(flat, each))
    taken = _emit(importer, relax.op.take(joined, _emit(importer, relax.op.reshape(whole, [-1])), axis=axes[0]))
    return _emit(importer, relax.op.reshape(taken, [*before, *each, *after]))


def unfold(node: fx.Node, importer: Any) -> Expr:
    """Windows along an axis, which overlap where the step is shorter than they are."""
    x, axis, size, step = importer.retrieve_args(node)[:4]
    shape = [int(n) for n in x.ty.shape]
    axis %= len(shape)
    count = (shape[axis] - size) // step + 1
    at = (np.arange(count)[:, None] * step + np.arange(size)).reshape(-1)
    taken = _emit(importer, relax.op.take(x, relax.const(at.astype("int64")), axis=axis))
    parted = _emit(importer, relax.op.reshape(taken, [*shape[:axis], count, size, *shape[axis + 1 :]]))
    order = [i for i in range(len(shape) + 1) if i != axis + 1]
    return _emit(importer, relax.op.permute_dims(parted, [*order, axis + 1]))


def _emit(importer: Any, expr: Expr) -> Expr:
    found: Expr = importer.block_builder.emit(expr)
    return found


def _scaled(importer: Any, x: Expr, factor: int) -> Expr:
    return _emit(importer, relax.op.multiply(x, relax.const(factor, "int64")))


def _wrapped(importer: Any, at: Expr, length: int) -> Expr:
    """Indices of which negative ones count from the end."""
    negative = _emit(importer, relax.op.less(at, relax.const(0, "int64")))
    return _emit(importer, relax.op.where(negative, _emit(importer, relax.op.add(at, relax.const(length, "int64"))), at))


CONVERTERS: dict[str, Callable[[fx.Node, Any], Expr]] = {
    "amax.default": amax,
    "div.Tensor_mode": divide,
    "index.Tensor": index,
    "max.dim": largest,
    "unfold.default": unfold,
}
