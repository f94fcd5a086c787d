"""Arithmetic in float16, single and in pairs. Source: PTX ISA, Half Precision Floating-Point Instructions.

A sum, difference or product of two halves is exact in float64, so rounding that once to float16 is the IEEE result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lampq_tvm.oracle.fma import odd_sum
from lampq_tvm.ptx.meanings import single
from lampq_tvm.ptx.meanings.registry import Lanewise, Meaning, meaning, only, parts
from lampq_tvm.ptx.module import Instruction
from lampq_tvm.ptx.types import Array


def pairs(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of halves as one of words that hold two of them, low half first."""
    return lambda *words: np.ascontiguousarray(function(*(w.view(np.float16) for w in words))).view(np.uint32)


def lanewise(instruction: Instruction, function: Callable[..., Array], kind: str, operands: int) -> Meaning:
    """A function of halves as the meaning of its `f16` or `f16x2` form."""
    assert instruction.opcode
    return Lanewise(function if kind == "f16" else pairs(function), (kind,) * operands, (kind,))


def arithmetic(instruction: Instruction) -> Meaning:
    """`a + b`, `a - b`, `a * b` per half, rounded once; `.sat` clamps to 0..1."""
    types, flags = parts(instruction, "rn", "sat")
    kind = only(instruction, types, "f16 f16x2")
    plain = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[instruction.opcode]

    def rounded(a: Array, b: Array) -> Array:
        return _finish(plain(a.astype(np.float64), b.astype(np.float64)), "sat" in flags)

    return lanewise(instruction, rounded, kind, 2)


@meaning("fma")
def fma(instruction: Instruction) -> Meaning:
    """`a * b + c` per lane or half with one rounding; `.sat` clamps to 0..1, `.relu` negative results to 0."""
    whole = single.fma(instruction)
    if whole is not None:
        return whole
    types, flags = parts(instruction, "rn", "sat", "relu")
    kind = only(instruction, types, "f16 f16x2")

    def fused(a: Array, b: Array, c: Array) -> Array:
        exact = odd_sum(np.multiply(a, b, dtype=np.float64), c.astype(np.float64))
        if "relu" in flags:
            exact = np.where(exact <= 0, 0.0, exact)  # -0 too
        return _finish(exact, "sat" in flags)

    return lanewise(instruction, fused, kind, 3)


def extreme(instruction: Instruction) -> Meaning:
    """The smaller or larger per half; zeros and NaNs as in float32."""
    types, flags = parts(instruction, "NaN")
    kind = only(instruction, types, "f16 f16x2")
    return lanewise(instruction, single.select(instruction.opcode == "min", bool(flags), "f16"), kind, 2)


def sign(instruction: Instruction) -> Meaning:
    """`|a|`, `-a` per half: the sign bit cleared or turned."""
    types, _ = parts(instruction)
    kind = only(instruction, types, "f16 f16x2")
    mask = np.uint16(0x8000)

    def changed(a: Array) -> Array:
        bits = a.view(np.uint16)
        return (bits & ~mask if instruction.opcode == "abs" else bits ^ mask).view(np.float16)

    return lanewise(instruction, changed, kind, 1)


def _finish(exact: Array, saturate: bool) -> Array:
    if saturate:
        exact = np.where(exact > 0, np.minimum(exact, 1.0), 0.0)
    return single.canonical(exact.astype(np.float16), "f16")
