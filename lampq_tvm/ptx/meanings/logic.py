"""Bits: logic, shifts, fields, counts, permutation. Source: PTX ISA, Logic and Shift
Instructions; Integer Arithmetic Instructions: popc, clz, bfind, brev, bfe, bfi; Data Movement: prmt.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from lampq_tvm.ptx.meanings.registry import Lanewise, Meaning, meaning, only, parts, unknown
from lampq_tvm.ptx.module import Immediate, Instruction
from lampq_tvm.ptx.types import TYPES, Array, bits_of, is_signed

WORDS = "pred b16 b32 b64"
OPERATIONS = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


@meaning("and", "or", "xor")
def logic(instruction: Instruction) -> Meaning:
    """Bitwise `a & b`, `a | b`, `a ^ b` per lane."""
    types, _ = parts(instruction)
    kind = only(instruction, types, WORDS)
    return Lanewise(OPERATIONS[instruction.opcode], (kind, kind), (kind,))


@meaning("not", "cnot")
def invert(instruction: Instruction) -> Meaning:
    """`not`: every bit turned; `cnot`: 1 where `a` is 0, else 0."""
    types, _ = parts(instruction)
    kind = only(instruction, types, WORDS)
    if instruction.opcode == "not":
        return Lanewise(np.invert, (kind,), (kind,))
    return Lanewise(lambda a: (a == 0).astype(a.dtype), (kind,), (kind,))


@meaning("shl", "shr")
def shift(instruction: Instruction) -> Meaning:
    """Shift by an unsigned 32-bit amount, which counts as the width where it is larger; signed `shr` keeps the sign"""
    types, _ = parts(instruction)
    kind = only(instruction, types, "b16 b32 b64 u16 u32 u64 s16 s32 s64")
    width, left = bits_of(kind), instruction.opcode == "shl"
    dtype = TYPES[kind]

    def shifted(a: Array, amount: Array) -> Array:
        near = np.minimum(amount, width - 1).astype(dtype)
        result = a << near if left else a >> near
        return np.asarray(result if is_signed(kind) and not left else np.where(amount >= width, dtype.type(0), result))

    return Lanewise(shifted, (kind, "u32"), (kind,))


@meaning("shf")
def funnel(instruction: Instruction) -> Meaning:
    """Shift the 64 bits `b:a` left (keep the high word) or right (the low one); the amount is taken modulo 32 (`.wrap`)
    or at most 32 (`.clamp`).
    """
    types, flags = parts(instruction, "l", "r", "wrap", "clamp")
    only(instruction, types, "b32")
    wrap, left = "wrap" in flags, "l" in flags

    def shifted(a: Array, b: Array, amount: Array) -> Array:
        pair = b.astype(np.uint64) << np.uint64(32) | a
        n = (amount & np.uint32(31) if wrap else np.minimum(amount, np.uint32(32))).astype(np.uint64)
        return ((pair << n) >> np.uint64(32) if left else pair >> n).astype(np.uint32)

    return Lanewise(shifted, ("b32", "b32", "u32"), ("b32",))


@meaning("bfe")
def extract(instruction: Instruction) -> Meaning:
    """The `c & 255` bits of `a` from bit `b & 255` on; missing ones are zero or, signed, the field's top bit."""
    types, _ = parts(instruction)
    kind = only(instruction, types, "u32 u64 s32 s64")
    width, dtype = bits_of(kind), TYPES[kind]
    unsigned = TYPES[f"u{width}"]

    def field(a: Array, b: Array, c: Array) -> Array:
        start, size = (b & np.uint32(255)).astype(np.int64), (c & np.uint32(255)).astype(np.int64)
        far = np.minimum(start, width - 1)
        bits = np.where(start >= width, 0, a.view(unsigned) >> far.astype(unsigned))
        keep = np.minimum(size, width)
        mask = _ones(keep, width)
        value = bits & mask
        if is_signed(kind):
            top = np.minimum(start + size - 1, width - 1)
            negative = (size > 0) & ((a.view(unsigned) >> np.maximum(top, 0).astype(unsigned)) & unsigned.type(1) == 1)
            have = np.clip(np.minimum(keep, width - start), 0, width)
            value = np.where(negative, value | ~_ones(have, width), value)
        return value.astype(unsigned).view(dtype)

    return Lanewise(field, (kind, "u32", "u32"), (kind,))


@meaning("bfi")
def insert(instruction: Instruction) -> Meaning:
    """`b` with its `d & 255` bits from bit `c & 255` on taken from the low bits of `a`."""
    types, _ = parts(instruction)
    kind = only(instruction, types, "b32 b64")
    width, dtype = bits_of(kind), TYPES[kind]

    def field(a: Array, b: Array, c: Array, d: Array) -> Array:
        start, size = (c & np.uint32(255)).astype(np.int64), (d & np.uint32(255)).astype(np.int64)
        near = np.minimum(start, width - 1).astype(dtype)
        mask = np.where(start >= width, dtype.type(0), _ones(np.minimum(size, width), width) << near)
        return np.asarray((b & ~mask) | (a << near & mask))

    return Lanewise(field, (kind, kind, "u32", "u32"), (kind,))


@meaning("popc", "clz", "brev", "bfind")
def count(instruction: Instruction) -> Meaning:
    """Per lane: bits that are set, zeros above the top one, the bits in reverse, and (`bfind`) the place of the top bit
    that differs from the sign, counted from below or (`.shiftamt`) from above, -1 if there is none.
    """
    types, flags = parts(instruction, *(["shiftamt"] if instruction.opcode == "bfind" else []))
    kind = only(instruction, types, "b32 b64 u32 u64 s32 s64")
    width = bits_of(kind)
    shifts = np.arange(width, dtype=f"u{width // 8}")

    def bits(a: Array) -> Array:
        return np.asarray((a.view(f"u{width // 8}")[:, None] >> shifts) & shifts.dtype.type(1))

    def leading(a: Array) -> Array:
        found = bits(a)[:, ::-1]
        return np.where(found.any(axis=1), found.argmax(axis=1), width).astype(np.uint32)

    def find(a: Array) -> Array:
        zeros = leading(np.where(a < 0, ~a, a)).astype(np.int64)
        place = zeros if flags else width - 1 - zeros
        return np.where(zeros == width, -1, place).astype(np.uint32)

    if instruction.opcode == "popc":
        return Lanewise(lambda a: bits(a).sum(axis=1).astype(np.uint32), (kind,), ("u32",))
    if instruction.opcode == "clz":
        return Lanewise(leading, (kind,), ("u32",))
    if instruction.opcode == "bfind":
        return Lanewise(find, (kind,), ("u32",))
    return Lanewise(lambda a: (bits(a) << shifts[::-1]).sum(axis=1, dtype=shifts.dtype), (kind,), (kind,))


@meaning("prmt")
def permute(instruction: Instruction) -> Meaning:
    """Byte i of the result is byte `c >> 4i & 7` of the eight bytes `b:a`; with bit 3 set, that byte's sign eight times"""
    types, _ = parts(instruction)
    only(instruction, types, "b32")

    def permuted(a: Array, b: Array, c: Array) -> Array:
        pair = b.astype(np.uint64) << np.uint64(32) | a
        result = np.zeros(a.size, np.uint64)
        for i in range(4):
            select = (c >> np.uint32(4 * i)).astype(np.uint64)
            byte = pair >> ((select & np.uint64(7)) << np.uint64(3)) & np.uint64(255)
            signs = (byte >> np.uint64(7)) * np.uint64(255)
            result |= np.where(select & np.uint64(8) != 0, signs, byte) << np.uint64(8 * i)
        return result.astype(np.uint32)

    return Lanewise(permuted, ("b32", "b32", "b32"), ("b32",))


@meaning("lop3")
def lookup(instruction: Instruction) -> Meaning:
    """Each bit is that of the 8-entry table `immLut` at the place `a b c` of the three operands' bits."""
    types, _ = parts(instruction)
    only(instruction, types, "b32")
    table = instruction.operands[4]
    if not isinstance(table, Immediate):
        raise unknown(instruction)
    rows = [i for i in range(8) if table.value >> i & 1]

    def looked(a: Array, b: Array, c: Array, _table: Array) -> Array:
        terms = [(a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c) for i in rows]
        return reduce(np.bitwise_or, terms, np.zeros_like(a))

    return Lanewise(looked, ("b32", "b32", "b32", "u32"), ("b32",))


def _ones(size: Array, width: int) -> Array:
    """`size` low bits set, 0 to `width` of them."""
    dtype = TYPES[f"u{width}"]
    full = np.invert(dtype.type(0))
    return np.asarray(np.where(size == 0, dtype.type(0), full >> np.minimum(width - size, width - 1).astype(dtype)))
