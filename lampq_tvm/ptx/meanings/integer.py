"""Integer arithmetic. Source: PTX ISA, Integer Arithmetic Instructions; results wrap around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lampq_tvm.ptx.meanings import half, single
from lampq_tvm.ptx.meanings.registry import Lanewise, Meaning, meaning, only, parts, unknown
from lampq_tvm.ptx.module import Instruction
from lampq_tvm.ptx.types import TYPES, Array, bits_of, is_float, is_signed

INTS = "u16 u32 u64 s16 s32 s64"
BASIC: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}


@meaning("add", "sub")
def add(instruction: Instruction) -> Meaning:
    """`d = a + b`, `d = a - b` per lane, modulo 2^bits; `.sat` of s32 clamps instead."""
    if is_float(instruction.modifiers[-1]):
        return single.arithmetic(instruction) or half.arithmetic(instruction)
    types, flags = parts(instruction, "sat")
    kind = only(instruction, types, INTS if not flags else "s32")
    if not flags:
        return Lanewise(BASIC[instruction.opcode], (kind, kind), (kind,))
    wide = BASIC[instruction.opcode]

    def saturated(a: Array, b: Array) -> Array:
        return np.clip(wide(a.astype(np.int64), b), -(2**31), 2**31 - 1).astype(np.int32)

    return Lanewise(saturated, (kind, kind), (kind,))


@meaning("mul")
def mul(instruction: Instruction) -> Meaning:
    """The low half, the high half, or (wide) all of `a * b` per lane."""
    if is_float(instruction.modifiers[-1]):
        return single.arithmetic(instruction) or half.arithmetic(instruction)
    types, flags = parts(instruction, "lo", "hi", "wide")
    kind = only(instruction, types, INTS)
    product = _product(instruction, kind, flags)
    return Lanewise(product, (kind, kind), (_result(kind, flags),))


@meaning("mad")
def mad(instruction: Instruction) -> Meaning:
    """`mul` plus `c`, modulo 2^bits of the result; `.hi.sat.s32` clamps the sum."""
    if is_float(instruction.modifiers[-1]):
        raise unknown(instruction)
    types, flags = parts(instruction, "lo", "hi", "wide", "sat")
    kind = only(instruction, types, INTS)
    product, result = _product(instruction, kind, flags - {"sat"}), _result(kind, flags)
    if "sat" in flags:
        if kind != "s32" or "hi" not in flags:
            raise unknown(instruction)

        def saturated(a: Array, b: Array, c: Array) -> Array:
            return np.clip(product(a, b).astype(np.int64) + c, -(2**31), 2**31 - 1).astype(np.int32)

        return Lanewise(saturated, (kind, kind, result), (result,))
    return Lanewise(lambda a, b, c: product(a, b) + c, (kind, kind, result), (result,))


@meaning("div", "rem")
def div(instruction: Instruction) -> Meaning:
    """`a / b` cut towards zero, and what it leaves, with the sign of `a`; by zero: all ones.

    The manual leaves division by zero open; GPUs give all ones for the quotient, and `a` for the rest.
    """
    if is_float(instruction.modifiers[-1]):
        return single.division(instruction)
    types, _ = parts(instruction)
    kind = only(instruction, types, INTS)
    quotient = instruction.opcode == "div"

    def divided(a: Array, b: Array) -> Array:
        zero = b == 0
        safe = np.where(zero, b.dtype.type(1), b)
        rest = np.fmod(a, safe)
        if quotient:
            whole = np.floor_divide(a - rest, safe)
            return np.where(zero, ~b, whole).astype(a.dtype)
        return np.where(zero, a, rest)

    return Lanewise(divided, (kind, kind), (kind,))


@meaning("min", "max")
def extreme(instruction: Instruction) -> Meaning:
    """The smaller or larger of `a` and `b` per lane."""
    if is_float(instruction.modifiers[-1]):
        return single.extreme(instruction) or half.extreme(instruction)
    types, _ = parts(instruction)
    kind = only(instruction, types, INTS)
    return Lanewise(BASIC[instruction.opcode], (kind, kind), (kind,))


@meaning("abs", "neg")
def sign(instruction: Instruction) -> Meaning:
    """`|a|`, `-a` per lane; the most negative number stays as it is."""
    if is_float(instruction.modifiers[-1]):
        return single.sign(instruction) or half.sign(instruction)
    types, _ = parts(instruction)
    kind = only(instruction, types, "s16 s32 s64")
    return Lanewise(np.abs if instruction.opcode == "abs" else np.negative, (kind,), (kind,))


@meaning("sad")
def sad(instruction: Instruction) -> Meaning:
    """`c + |a - b|` per lane."""
    types, _ = parts(instruction)
    kind = only(instruction, types, INTS)
    return Lanewise(lambda a, b, c: c + np.where(a < b, b - a, a - b), (kind, kind, kind), (kind,))


@meaning("mul24", "mad24")
def mul24(instruction: Instruction) -> Meaning:
    """The low 32 bits (`.lo`) of the product of two 24-bit numbers, `mad24` plus `c`."""
    types, flags = parts(instruction, "lo")
    kind = only(instruction, types, "u32 s32")
    if not flags:
        raise unknown(instruction)
    eight = TYPES[kind].type(8)

    def low(a: Array) -> Array:
        return np.asarray((a << eight) >> eight)

    if instruction.opcode == "mul24":
        return Lanewise(lambda a, b: low(a) * low(b), (kind, kind), (kind,))
    return Lanewise(lambda a, b, c: low(a) * low(b) + c, (kind, kind, kind), (kind,))


def _result(kind: str, flags: frozenset[str]) -> str:
    return f"{kind[0]}{2 * bits_of(kind)}" if "wide" in flags else kind


def _product(instruction: Instruction, kind: str, flags: frozenset[str]) -> Callable[[Array, Array], Array]:
    if flags == {"lo"}:
        return BASIC["mul"]
    if flags == {"hi"} and bits_of(kind) == 64:
        return _high64_signed if is_signed(kind) else _high64
    if len(flags) != 1 or bits_of(kind) == 64:
        raise unknown(instruction)
    narrow: Any = TYPES[kind]
    wide: Any = TYPES[f"{kind[0]}{2 * bits_of(kind)}"]
    if flags == {"wide"}:
        return lambda a, b: np.multiply(a, b, dtype=wide)
    return lambda a, b: (np.multiply(a, b, dtype=wide) >> wide.type(bits_of(kind))).astype(narrow)


def _high64(a: Array, b: Array) -> Array:
    """The high half of a product of two uint64, from four products of halves."""
    half_bits, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a1, a0, b1, b0 = a >> half_bits, a & low, b >> half_bits, b & low
    middle = a1 * b0 + (a0 * b0 >> half_bits)
    other = a0 * b1 + (middle & low)
    return np.asarray(a1 * b1 + (middle >> half_bits) + (other >> half_bits))


def _high64_signed(a: Array, b: Array) -> Array:
    high = _high64(a.view(np.uint64), b.view(np.uint64)).view(np.int64)
    return high - np.where(a < 0, b, 0) - np.where(b < 0, a, 0)
