"""What converters share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx
from tvm import relax
from tvm.ir import Expr

Converter = Callable[[fx.Node, Any], Expr]  # a node, whose arguments are converted already, and TVM's importer


def arguments(node: fx.Node, importer: Any, *otherwise: Any) -> list[Any]:
    """A node's arguments; those behind the last one given are as in `otherwise`, which has them all."""
    given = list(importer.retrieve_args(node))
    return [*given, *otherwise[len(given) :]]


def emit(importer: Any, expr: Expr) -> Expr:
    """A step of the function that is being made."""
    found: Expr = importer.block_builder.emit(expr)
    return found


def computed(importer: Any, function: Callable[..., Any], *args: Expr, name: str) -> Expr:
    """A step in tensor expressions."""
    found: Expr = importer.block_builder.emit_te(function, *args, primfunc_name_hint=name)
    return found


def like(x: Expr, value: float) -> Expr:
    """A number of a value's type."""
    return relax.const(value, str(x.ty.dtype))


def wanted(node: fx.Node) -> str:
    """The type that torch gives a node's value."""
    return str(node.meta["val"].dtype).removeprefix("torch.")


def cast(importer: Any, x: Any, dtype: str) -> Expr:
    """A value, or a number, in a type."""
    if isinstance(x, (bool, int, float)):
        return relax.const(x, dtype)
    return x if str(x.ty.dtype) == dtype else emit(importer, relax.op.astype(x, dtype))


def lengths(x: Expr) -> list[int]:
    """Shape of a value."""
    return [int(n) for n in x.ty.shape]
