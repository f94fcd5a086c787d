"""Moves between registers. Source: PTX ISA, Data Movement and Conversion Instructions: mov."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lampq_tvm.ptx.lanes import Active
from lampq_tvm.ptx.machine import Machine
from lampq_tvm.ptx.meanings.registry import Effect, Lanewise, Meaning, meaning, only, parts
from lampq_tvm.ptx.module import Instruction, Operand, Vector
from lampq_tvm.ptx.types import Array, bits_of

KINDS = "pred b16 b32 b64 u16 u32 u64 s16 s32 s64 f32 f64"


@meaning("mov")
def move(instruction: Instruction) -> Meaning:
    """`d = a` per lane: a register, number, special register or address; a word from its parts in braces, lowest first, or
    the parts from the word.
    """
    types, _ = parts(instruction)
    kind = only(instruction, types, KINDS)
    target, source = instruction.operands
    if isinstance(source, Vector):
        return Effect(lambda machine: _join(machine, source.items, target, kind))
    if isinstance(target, Vector):
        return Effect(lambda machine: _part(machine, source, target.items, kind))
    return Lanewise(lambda a: a, (kind,), (kind,))


def value(source: Array | Callable[[], Array]) -> Array:
    """An operand now."""
    return source if isinstance(source, np.ndarray) else source()


def _join(machine: Machine, items: tuple[Operand, ...], target: Operand, kind: str) -> Callable[[Active], None]:
    width = bits_of(kind) // len(items)
    sources = [machine.source(item, f"u{width}") for item in items]
    put = machine.target(target, f"u{bits_of(kind)}")

    def step(active: Active) -> None:
        stacked = np.stack([value(s) for s in sources], axis=1)
        put(stacked.view(f"u{bits_of(kind) // 8}")[:, 0], active)

    return step


def _part(machine: Machine, source: Operand, items: tuple[Operand, ...], kind: str) -> Callable[[Active], None]:
    width = bits_of(kind) // len(items)
    whole = machine.source(source, f"u{bits_of(kind)}")
    puts = [machine.target(item, f"u{width}") for item in items]

    def step(active: Active) -> None:
        pieces = value(whole).view(f"u{width // 8}").reshape(-1, len(puts)).copy()
        for i, put in enumerate(puts):
            put(pieces[:, i], active)

    return step
