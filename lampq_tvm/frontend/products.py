"""Matrix products of two computed values, which become integer operators between the nodes that stay float."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from lampq_tvm.frontend.graph import module_path, operator
from lampq_tvm.frontend.trace import Base
from lampq_tvm.network.operators.matmul import MatMul

if TYPE_CHECKING:
    from lampq_tvm.frontend.floats import Floats

PRODUCTS = ("matmul", "bmm")
ATTENTION = "scaled_dot_product_attention"
OPTIONS = ("attn_mask", "dropout_p", "is_causal")  # behind q, k and v; others are given by name
AXES = 3  # of an operand, at least: images, rows, columns


def is_product(node: fx.Node) -> bool:
    """Whether a node may be a product of two computed values, in float32."""
    return operator(node) in (*PRODUCTS, ATTENTION) and _is_float32(node)


def product(floats: Floats, node: fx.Node) -> Base | None:
    """The value, images first, of a node that multiplies two computed values; None where it is of another form."""
    if operator(node) in PRODUCTS:
        left, right = node.args[:2]
        right, transposed = _turned(right)
        operands = [_operand(floats, each) for each in (left, right)]
        return None if None in operands else _emit(floats, node, *operands, transposed=transposed)  # type: ignore[arg-type]
    return _attention(floats, node)


def _attention(floats: Floats, node: fx.Node) -> Base | None:
    """torch's fused attention as two products around a softmax."""
    q, k, v, *given = node.args
    options: dict[str, Any] = {**dict(zip(OPTIONS, given, strict=False)), **node.kwargs}
    scale = options.pop("scale", None)
    if any(value not in (None, 0.0, False) for value in options.values()):
        return None
    operands = [_operand(floats, each) for each in (q, k, v)]
    if any(each is None for each in operands):
        return None
    scale = 1 / math.sqrt(operands[0].shape[-1]) if scale is None else scale  # type: ignore[union-attr]
    scores = _emit(floats, node, *operands[:2], transposed=True)  # type: ignore[arg-type]
    if scores is None:
        return None
    scaled = floats.apply("aten.mul.Scalar", scores, scale)
    return _emit(floats, node, floats.apply("aten.softmax.int", scaled, -1), operands[2], transposed=False)  # type: ignore[arg-type]


def _turned(node: Any) -> tuple[Any, bool]:
    """What a node turns, where all it does is to turn matrices; whether it does."""
    if isinstance(node, fx.Node) and operator(node) in ("transpose", "swapaxes", "mT", "permute"):
        x, *axes = node.args
        ndim = x.meta["val"].ndim  # type: ignore[union-attr]
        last = list(range(ndim - 2)), [ndim - 1, ndim - 2]
        if operator(node) == "permute":
            turns = [int(a) % ndim for a in axes[0]] == last[0] + last[1]  # type: ignore[union-attr, arg-type]
        else:
            turns = not axes or {int(a) % ndim for a in axes} == set(last[1])  # type: ignore[arg-type]
        if turns:
            return x, True
    return node, False


def _operand(floats: Floats, node: Any) -> Base | None:
    """A computed value whose images lie along its first axis, alone; None where it is none, or they lie elsewhere."""
    if not isinstance(node, fx.Node) or node not in floats.trace.graph.computed or not _is_float32(node):
        return None
    found = floats.images_first(node)
    return None if found is floats.trace.image else found


def _is_float32(node: fx.Node) -> bool:
    value = node.meta["val"]
    return isinstance(value, Tensor) and value.dtype is torch.float32


def _emit(floats: Floats, node: fx.Node, a: Base, b: Base, *, transposed: bool) -> Base | None:
    """The product of two values, where their matrices come in equal numbers."""
    if len(a.shape) < AXES or a.shape[:-2] != b.shape[:-2]:
        return None
    rows, columns = b.shape[-2:] if not transposed else b.shape[:-3:-1]
    if a.shape[-1] != rows:
        return None
    place = module_path(node) or "product"
    op = MatMul(f"{place}.{operator(node)}", (a.name, b.name), transposed)
    return floats.trace.emit(op, (*a.shape[:-1], columns))
