"""Values taken apart: each piece is a slice of its own, since a kernel writes one value."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from torch import fx
from tvm import relax
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import arguments, emit, lengths


def split(node: fx.Node, importer: Any) -> list[Expr]:
    """Runs along an axis: all of one length but the last one, or each of its own."""
    x, sizes, axis = arguments(node, importer, None, None, node.kwargs.get("dim", 0))
    length = lengths(x)[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - first) for first in range(0, length, sizes)]
    firsts = accumulate(sizes, initial=0)
    return [_slice(importer, x, axis, first, size) for first, size in zip(firsts, sizes, strict=False)]


def unbind(node: fx.Node, importer: Any) -> list[Expr]:
    """Every entry along an axis, which is then gone."""
    x, axis = arguments(node, importer, None, node.kwargs.get("dim", 0))
    pieces = [_slice(importer, x, axis, i, 1) for i in range(lengths(x)[axis])]
    return [emit(importer, relax.op.squeeze(piece, axis=[axis])) for piece in pieces]


def _slice(importer: Any, x: Expr, axis: int, first: int, size: int) -> Expr:
    return emit(importer, relax.op.strided_slice(x, [axis], [first], [first + size], assume_inbound=True))


CONVERTERS = {"split.Tensor": split, "split_with_sizes.default": split, "unbind.int": unbind}
