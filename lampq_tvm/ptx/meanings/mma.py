"""Matrix products of a warp. Source: PTX ISA, Warp Level Matrix Instructions: mma.sync.

Every fragment is made of 32-bit words along K, in which s8, s4 and f16 differ only by how many elements a word holds:
with g = lane/4 and t = lane%4, register r of A is row g + 8(r%2), word t + 4(r/2) (A of 8 rows: row g, word t); register r
of B is column g, word t + 4r; register r of C is row g + 8(r/2), column 2t + r%2.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from lampq_tvm.ptx.lanes import WARP, Active
from lampq_tvm.ptx.machine import Machine
from lampq_tvm.ptx.meanings.matrix import gathered, spread
from lampq_tvm.ptx.meanings.move import value
from lampq_tvm.ptx.meanings.registry import Effect, Meaning, Step, meaning, unknown
from lampq_tvm.ptx.module import Instruction, Vector
from lampq_tvm.ptx.types import Array

TYPE = r"\.([su][48]|f16)"
SUM = r"\.(s32|f16|f32)"
FORM = re.compile(rf"mma\.sync\.aligned\.m(8|16)n8k(\d+)\.row\.col(\.satfinite)?{SUM}{TYPE}{TYPE}{SUM}$")
# Rows and depths of products, by the elements' bits.
SHAPES = {
    8: {("8", "16"), ("16", "16"), ("16", "32")},
    4: {("8", "32"), ("16", "32"), ("16", "64")},
    16: {("16", "8"), ("16", "16")},
}


@meaning("mma")
def product(instruction: Instruction) -> Meaning:
    """`D = A B + C` of a warp's fragments, as laid out above.

    Integers: exact, modulo 2^32 or (`.satfinite`) clamped. Halves: exact products summed in float64 and rounded once to the
    type of D; a GPU's sum may differ in its last bits, for the manual leaves its order and rounding open.
    """
    found = FORM.match(instruction.mnemonic)
    if found is None:
        raise unknown(instruction)
    rows, depth, saturate, d, a, b, c = found.groups()
    integer = a[0] != "f"
    bits = 16 if a == "f16" else int(a[1:])
    fits = (d == c == "s32") if integer else (b == "f16" and d != "s32" and c != "s32" and not saturate)
    if (rows, depth) not in SHAPES[bits] or not fits or bits != (16 if b == "f16" else int(b[1:])):
        raise unknown(instruction)
    return Effect(lambda machine: _bind(machine, instruction, int(rows), (d, a, b, c), bool(saturate)), together=-1)


def _bind(machine: Machine, instruction: Instruction, rows: int, kinds: tuple[str, ...], saturate: bool) -> Step:
    targets, *fragments = ((o.items if isinstance(o, Vector) else (o,)) for o in instruction.operands)
    a, b, c = ([machine.source(item, "b32") for item in items] for items in fragments)
    puts = [machine.target(item, "b32") for item in targets]
    dkind, akind, bkind, ckind = kinds
    unpack_a, unpack_b = UNPACK[akind], UNPACK[bkind]

    def step(active: Active) -> None:
        left = unpack_a(rows_of([gathered(active, value(r)) for r in a], rows))
        right = unpack_b(columns_of([gathered(active, value(r)) for r in b]))
        start = accumulator([gathered(active, value(r)) for r in c], rows, ckind)
        if dkind == "s32":
            # float32 is exact: at most 64 products of less than 2^16 in absolute value.
            total = np.matmul(left, right.swapaxes(1, 2)).astype(np.int64) + start
            total = np.clip(total, -(2**31), 2**31 - 1) if saturate else total
            words = registers(total.astype(np.int32).view(np.uint32), rows)
        else:
            exact = np.matmul(left.astype(np.float64), right.astype(np.float64).swapaxes(1, 2)) + start
            words = packed(exact, rows, dkind)
        for put, word in zip(puts, words, strict=True):
            put(spread(machine, active, word), active)

    return step


def rows_of(words: list[Array], rows: int) -> Array:
    """Registers of A, each [V, 32], to words of the matrix, [V, rows, K in words]."""
    v = words[0].shape[0]
    if rows == 8:
        return np.concatenate([w.reshape(v, 8, 4) for w in words], axis=2)
    halves = [np.concatenate([w.reshape(v, 8, 4) for w in words[i::2]], axis=2) for i in (0, 1)]
    return np.concatenate(halves, axis=1)


def columns_of(words: list[Array]) -> Array:
    """Registers of B, each [V, 32], to words of its transpose, [V, 8, K in words]."""
    return np.concatenate([w.reshape(w.shape[0], 8, 4) for w in words], axis=2)


def accumulator(words: list[Array], rows: int, kind: str) -> Array:
    """Registers of C to numbers, [V, rows, 8]; halves stand two in a register."""
    v = words[0].shape[0]
    if kind == "f16":
        return np.concatenate([w.reshape(v, 8, 4).view(np.float16) for w in words], axis=1).astype(np.float64)
    view = np.int32 if kind == "s32" else np.float32
    blocks = [np.stack(words[i : i + 2], axis=2).reshape(v, 8, 8) for i in range(0, len(words), 2)]
    numbers = np.concatenate(blocks, axis=1).view(view)
    assert numbers.shape[1] == rows
    return numbers.astype(np.int64 if kind == "s32" else np.float64)


def registers(numbers: Array, rows: int) -> list[Array]:
    """Words of D, [V, rows, 8], to registers, each [V, 32]."""
    found = []
    for block in range(rows // 8):
        part = numbers[:, 8 * block : 8 * block + 8].reshape(-1, WARP, 2)
        found += [part[:, :, 0], part[:, :, 1]]
    return found


def packed(exact: Array, rows: int, kind: str) -> list[Array]:
    """Numbers of D in float64 to registers of float32, or of two halves."""
    if kind == "f32":
        return registers(exact.astype(np.float32).view(np.uint32), rows)
    halves = exact.astype(np.float16)
    return [np.ascontiguousarray(halves[:, i : i + 8]).view(np.uint32).reshape(-1, WARP) for i in range(0, rows, 8)]


def _bytes(view: type) -> Callable[[Array], Array]:
    return lambda words: np.ascontiguousarray(words).view(view).astype(np.float32)


def _nibbles(signed: bool) -> Callable[[Array], Array]:
    def unpack(words: Array) -> Array:
        raw = np.ascontiguousarray(words).view(np.uint8)
        pair = np.stack([raw << np.uint8(4), raw & np.uint8(0xF0)], axis=-1)
        pair = pair.view(np.int8) >> np.int8(4) if signed else pair >> np.uint8(4)
        return pair.reshape(*raw.shape[:-1], -1).astype(np.float32)

    return unpack


UNPACK: dict[str, Callable[[Array], Array]] = {
    "s8": _bytes(np.int8),
    "u8": _bytes(np.uint8),
    "s4": _nibbles(True),
    "u4": _nibbles(False),
    "f16": _bytes(np.float16),
}
