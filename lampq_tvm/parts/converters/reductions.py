"""Largest, least, product along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx
from tvm import relax
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import Converter, cast, emit, wanted


def along_axes(operator: Callable[..., Expr]) -> Converter:
    """Of several axes, all where none is given."""

    def convert(node: fx.Node, importer: Any) -> Expr:
        x, *rest = importer.retrieve_args(node)
        axes, keep = (*rest, None, False)[:2] if rest else (None, False)
        given = [axes] if isinstance(axes, int) else axes
        source = cast(importer, x, wanted(node))
        return emit(importer, operator(source, axis=list(given) if given else None, keepdims=bool(keep)))

    return convert


def with_place(operator: Callable[..., Expr], place: Callable[..., Expr]) -> Converter:
    """Along an axis, and where it is."""

    def convert(node: fx.Node, importer: Any) -> Expr:
        x, axis, *keep = importer.retrieve_args(node)
        kept = bool(keep and keep[0])
        at = place(x, axis=axis, keepdims=kept)
        return relax.Tuple([emit(importer, operator(x, axis=axis, keepdims=kept)), emit(importer, at)])

    return convert


def unasserted(node: fx.Node, importer: Any) -> Expr:
    """A check of values, which there is no way to fail by."""
    return relax.Tuple([])


CONVERTERS = {
    "_assert_async.msg": unasserted,
    "amax.default": along_axes(relax.op.max),
    "amin.default": along_axes(relax.op.min),
    "max.dim": with_place(relax.op.max, relax.op.argmax),
    "min.dim": with_place(relax.op.min, relax.op.argmin),
    "prod.dim_int": along_axes(relax.op.prod),
}
