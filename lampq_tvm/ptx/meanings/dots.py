"""Dot products of packed integers. Source: PTX ISA, Integer Arithmetic Instructions: dp4a, dp2a."""

from __future__ import annotations

import numpy as np

from lampq_tvm.ptx.meanings.registry import Lanewise, Meaning, meaning, unknown
from lampq_tvm.ptx.module import Instruction
from lampq_tvm.ptx.types import Array

BYTES = {"s32": np.int8, "u32": np.uint8}


@meaning("dp4a")
def dot4(instruction: Instruction) -> Meaning:
    """`c` plus the products of the four bytes of `a` and `b`, each signed or not, modulo 2^32."""
    types = instruction.modifiers
    if len(types) != 2 or not set(types) <= set(BYTES):
        raise unknown(instruction)
    signed = "s32" if "s32" in types else "u32"

    def dot(a: Array, b: Array, c: Array) -> Array:
        left, right = (x.view(BYTES[t]).reshape(-1, 4).astype(np.int32) for x, t in zip((a, b), types, strict=True))
        return np.asarray(c + (left * right).sum(axis=1, dtype=np.int32).view(c.dtype))

    return Lanewise(dot, (types[0], types[1], signed), (signed,))


@meaning("dp2a")
def dot2(instruction: Instruction) -> Meaning:
    """`c` plus the products of the two 16-bit halves of `a` and the two low (`.lo`) or high (`.hi`) bytes of `b`."""
    half, *types = instruction.modifiers
    if half not in ("lo", "hi") or len(types) != 2 or not set(types) <= set(BYTES):
        raise unknown(instruction)
    signed = "s32" if "s32" in types else "u32"
    words = {"s32": np.int16, "u32": np.uint16}[types[0]]
    first = 0 if half == "lo" else 2

    def dot(a: Array, b: Array, c: Array) -> Array:
        left = a.view(words).reshape(-1, 2).astype(np.int64)
        right = b.view(BYTES[types[1]]).reshape(-1, 4)[:, first : first + 2].astype(np.int64)
        return np.asarray(c + (left * right).sum(axis=1).astype(c.dtype))

    return Lanewise(dot, (types[0], types[1], signed), (signed,))
