"""Arithmetic in float32 (and float64 where NumPy rounds once). Source: PTX ISA, Floating-Point Instructions.

Denormals are kept, every result is rounded once, and a result that is not a number is the canonical one, as on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lampq_tvm.oracle.fma import odd_sum
from lampq_tvm.ptx.meanings.registry import Lanewise, Meaning, meaning, only, parts, unknown
from lampq_tvm.ptx.module import Instruction
from lampq_tvm.ptx.types import TYPES, UNSIGNED, Array

ROUNDINGS = ("rn", "rz", "rm", "rp")
NAN_BITS = {"f16": 0x7FFF, "f32": 0x7FFFFFFF, "f64": 0x7FF8000000000000}


def canonical(values: Array, kind: str) -> Array:
    """The same values, each NaN as the GPU's."""
    bad = values != values
    if bad.any():
        nan = np.array(NAN_BITS[kind], UNSIGNED[values.dtype.itemsize * 8]).view(values.dtype)
        values = np.where(bad, nan, values)
    return values


def narrow(exact: Array, rounding: str) -> Array:
    """Float64 values, rounded to odd where inexact, to float32 in a rounding mode."""
    near = exact.astype(np.float32)
    if rounding == "rn":
        return near
    wide = near.astype(np.float64)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    low = np.where(wide > exact, np.nextafter(near, down), near)
    high = np.where(wide < exact, np.nextafter(near, up), near)
    return {"rm": low, "rp": high, "rz": np.where(exact < 0, high, low)}[rounding]


def arithmetic(instruction: Instruction) -> Meaning | None:
    """`a + b`, `a - b`, `a * b` per lane, rounded once in the mode that stands there; `.sat` clamps to 0..1.

    Returns:
        None where the type is one of `half`.
    """
    types, flags = parts(instruction, *ROUNDINGS, "sat")
    kind = types[-1]
    if kind not in ("f32", "f64"):
        return None
    rounding = next(iter(flags - {"sat"}), "rn")
    if len(flags - {"sat"}) > 1 or (kind == "f64" and (rounding != "rn" or "sat" in flags)):
        raise unknown(instruction)
    plain = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[instruction.opcode]
    if rounding == "rn":
        return Lanewise(_finish(plain, kind, "sat" in flags), (kind, kind), (kind,))
    opcode = instruction.opcode

    def directed(a: Array, b: Array) -> Array:
        x, y = a.astype(np.float64), b.astype(np.float64)
        exact = x * y if opcode == "mul" else odd_sum(x, -y if opcode == "sub" else y)
        return _signed_zero(narrow(exact, rounding), x, y, rounding, opcode)

    return Lanewise(_finish(directed, kind, "sat" in flags), (kind, kind), (kind,))


def fma(instruction: Instruction) -> Meaning | None:
    """`a * b + c` per lane with one rounding.

    Returns:
        None where the type is one of `half`.
    """
    if instruction.modifiers[-1] != "f32":
        return None
    types, flags = parts(instruction, *ROUNDINGS, "sat")
    kind = only(instruction, types, "f32")
    rounding = next(iter(flags - {"sat"}), "")
    if rounding == "" or len(flags - {"sat"}) > 1:
        raise unknown(instruction)

    def fused(a: Array, b: Array, c: Array) -> Array:
        product, addend = np.multiply(a, b, dtype=np.float64), c.astype(np.float64)
        result = narrow(odd_sum(product, addend), rounding)
        return result if rounding == "rn" else _signed_zero(result, product, addend, rounding, "add")

    return Lanewise(_finish(fused, kind, "sat" in flags), (kind, kind, kind), (kind,))


def division(instruction: Instruction) -> Meaning:
    """`a / b` per lane, rounded to nearest."""
    types, flags = parts(instruction, "rn")
    kind = only(instruction, types, "f32 f64")
    if not flags:
        raise unknown(instruction)
    return Lanewise(_finish(np.divide, kind, False), (kind, kind), (kind,))


@meaning("rcp", "sqrt")
def root(instruction: Instruction) -> Meaning:
    """`1 / a`, or the square root of `a`, per lane, rounded to nearest."""
    types, flags = parts(instruction, "rn")
    kind = only(instruction, types, "f32 f64")
    if not flags:
        raise unknown(instruction)
    one = TYPES[kind].type(1)
    function: Callable[..., Array] = np.sqrt if instruction.opcode == "sqrt" else lambda a: np.divide(one, a)
    return Lanewise(_finish(function, kind, False), (kind,), (kind,))


@meaning("copysign")
def copysign(instruction: Instruction) -> Meaning:
    """`b` with the sign of `a`, per lane (9.7.3.2)."""
    types, _ = parts(instruction)
    kind = only(instruction, types, "f32 f64")
    return Lanewise(lambda a, b: np.copysign(b, a), (kind, kind), (kind,))


@meaning("ex2")
def power(instruction: Instruction) -> Meaning:
    """`2^a` per lane, results and operands below the normal range as 0 (9.7.3.21, `ex2.approx.ftz.f32`).

    A GPU's is approximate, within 2^-22.5 of the result; here it is the exact one, rounded once.
    """
    types, flags = parts(instruction, "approx", "ftz")
    kind = only(instruction, types, "f32")
    if flags != {"approx", "ftz"}:
        raise unknown(instruction)

    def exponential(a: Array) -> Array:
        with np.errstate(over="ignore", under="ignore"):
            exact = np.exp2(_flushed(a).astype(np.float64)).astype(np.float32)
        return canonical(_flushed(exact), kind)

    return Lanewise(exponential, (kind,), (kind,))


def _flushed(values: Array) -> Array:
    """Numbers below the normal range as zeros of their sign."""
    return np.where(np.abs(values) < np.float32(2.0**-126), np.copysign(np.float32(0), values), values)


def extreme(instruction: Instruction) -> Meaning | None:
    """The smaller or larger of `a` and `b` per lane; -0 is below 0; of one NaN and a number the number, with `.NaN` the NaN

    Returns:
        None where the type is one of `half`.
    """
    types, flags = parts(instruction, "NaN")
    kind = types[-1]
    if kind not in ("f32", "f64"):
        return None
    return Lanewise(select(instruction.opcode == "min", bool(flags), kind), (kind, kind), (kind,))


def select(smaller: bool, strict: bool, kind: str) -> Callable[[Array, Array], Array]:
    """`extreme` as a function of two arrays."""
    unsigned = UNSIGNED[TYPES[kind].itemsize * 8]
    pick = (np.minimum if strict else np.fmin) if smaller else (np.maximum if strict else np.fmax)
    merge = np.bitwise_or if smaller else np.bitwise_and

    def chosen(a: Array, b: Array) -> Array:
        zeros = (a == 0) & (b == 0)
        result = pick(a, b)
        if zeros.any():
            result = np.where(zeros, merge(a.view(unsigned), b.view(unsigned)).view(a.dtype), result)
        return canonical(result, kind)

    return chosen


def sign(instruction: Instruction) -> Meaning | None:
    """`|a|`, `-a` per lane: the sign bit cleared or turned.

    Returns:
        None where the type is one of `half`.
    """
    types, _ = parts(instruction)
    kind = types[-1]
    if kind not in ("f32", "f64"):
        return None
    return Lanewise(np.abs if instruction.opcode == "abs" else np.negative, (kind,), (kind,))


def _finish(function: Callable[..., Array], kind: str, saturate: bool) -> Callable[..., Array]:
    """A function with canonical NaNs, or clamped to 0..1 with NaN as 0."""
    if not saturate:
        return lambda *operands: canonical(function(*operands), kind)

    def clamped(*operands: Array) -> Array:
        result = function(*operands)
        return np.asarray(np.where(result > 0, np.minimum(result, TYPES[kind].type(1)), TYPES[kind].type(0)))

    return clamped


def _signed_zero(result: Array, a: Array, b: Array, rounding: str, opcode: str) -> Array:
    """Rounding down, a sum of opposite numbers is -0; a sum of equal zeros keeps their sign."""
    if opcode == "mul" or rounding != "rm":
        return result
    other = -b if opcode == "sub" else b
    cancelled = (a == -other) & np.isfinite(a) & ((a != 0) | (np.signbit(a) != np.signbit(other)))
    return np.where(cancelled, result.dtype.type(-0.0), result)
