"""Functions of single elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import fx
from tvm import relax
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import Converter, arguments, cast, emit, like, wanted


def arithmetic(operator: Callable[[Expr, Expr], Expr], turned: bool = False) -> Converter:
    """x and y (or y and x), the second one given times alpha, in the type that torch computes in."""

    def convert(node: fx.Node, importer: Any) -> Expr:
        x, y, *rest = importer.retrieve_args(node)
        alpha, dtype = node.kwargs.get("alpha", rest[0] if rest else 1), wanted(node)
        first, second = cast(importer, x, dtype), cast(importer, y, dtype)
        by = first if turned else second
        scaled = by if alpha == 1 else emit(importer, relax.op.multiply(by, cast(importer, alpha, dtype)))
        return emit(importer, operator(second, scaled) if turned else operator(first, scaled))

    return convert


def divide(node: fx.Node, importer: Any) -> Expr:
    """Division rounded down, or toward zero, or not."""
    x, y = importer.retrieve_args(node)[:2]
    dtype, rounding = wanted(node), node.kwargs.get("rounding_mode")
    first, second = cast(importer, x, dtype), cast(importer, y, dtype)
    if rounding == "floor":
        return emit(importer, relax.op.floor_divide(first, second))
    quotient = emit(importer, relax.op.divide(first, second))
    return emit(importer, relax.op.trunc(quotient)) if rounding == "trunc" and "float" in dtype else quotient


def elu(node: fx.Node, importer: Any) -> Expr:
    """scale (max(x, 0) + alpha (exp(input_scale min(x, 0)) - 1)): SELU is one of these."""
    x, alpha, scale, input_scale = arguments(node, importer, None, 1.0, 1.0, 1.0)
    below = emit(importer, relax.op.multiply(relax.op.minimum(x, like(x, 0)), like(x, input_scale)))
    bent = emit(importer, relax.op.multiply(relax.op.subtract(relax.op.exp(below), like(x, 1)), like(x, alpha * scale)))
    return emit(importer, relax.op.add(relax.op.multiply(relax.op.maximum(x, like(x, 0)), like(x, scale)), bent))


def sinh(node: fx.Node, importer: Any) -> Expr:
    """(exp(x) - exp(-x)) / 2."""
    (x,) = importer.retrieve_args(node)
    both = relax.op.subtract(relax.op.exp(x), relax.op.exp(relax.op.negative(x)))
    return emit(importer, relax.op.multiply(both, like(x, 0.5)))


def inverse_hyperbolic(node: fx.Node, importer: Any) -> Expr:
    """log(x + sqrt(x^2 + 1)) of |x| with the sign of x; log(x + sqrt(x^2 - 1)); log((1 + x) / (1 - x)) / 2."""
    (x,) = importer.retrieve_args(node)
    one, kind = like(x, 1), str(node.target).split(".")[1]
    if kind == "atanh":
        ratio = relax.op.divide(relax.op.add(one, x), relax.op.subtract(one, x))
        return emit(importer, relax.op.multiply(relax.op.log(ratio), like(x, 0.5)))
    away = relax.op.abs(x)
    inside = (relax.op.add if kind == "asinh" else relax.op.subtract)(relax.op.multiply(x, x), one)
    found = relax.op.log(relax.op.add(away if kind == "asinh" else x, relax.op.sqrt(inside)))
    return emit(importer, relax.op.multiply(found, relax.op.sign(x)) if kind == "asinh" else found)


def erfc(node: fx.Node, importer: Any) -> Expr:
    """1 - erf(x)."""
    (x,) = importer.retrieve_args(node)
    return emit(importer, relax.op.subtract(like(x, 1), relax.op.erf(x)))


def exp2(node: fx.Node, importer: Any) -> Expr:
    """exp(x log 2)."""
    (x,) = importer.retrieve_args(node)
    return emit(importer, relax.op.exp(relax.op.multiply(x, like(x, math.log(2)))))


def rrelu(node: fx.Node, importer: Any) -> Expr:
    """A leaky ReLU with the middle slope, which it is outside of training; its other result is not read."""
    x, _, lower, upper = arguments(node, importer, None, None, 1 / 8, 1 / 3)[:4]
    found = emit(importer, relax.op.maximum(x, relax.op.multiply(x, like(x, (lower + upper) / 2))))
    return relax.Tuple([found, x])


ARITHMETIC = {"add": relax.op.add, "sub": relax.op.subtract, "mul": relax.op.multiply}
CONVERTERS = {
    **{f"{name}.{kind}": arithmetic(operator) for name, operator in ARITHMETIC.items() for kind in ("Tensor", "Scalar")},
    "rsub.Tensor": arithmetic(relax.op.subtract, turned=True),
    "rsub.Scalar": arithmetic(relax.op.subtract, turned=True),
    "div.Tensor": divide,
    "div.Scalar": divide,
    "acosh.default": inverse_hyperbolic,
    "asinh.default": inverse_hyperbolic,
    "atanh.default": inverse_hyperbolic,
    "div.Tensor_mode": divide,
    "elu.default": elu,
    "erfc.default": erfc,
    "exp2.default": exp2,
    "rrelu_with_noise_functional.default": rrelu,
    "sinh.default": sinh,
}
