"""Loads and stores. Source: PTX ISA, Data Movement and Conversion Instructions: ld, ldu, st."""

from __future__ import annotations

import numpy as np

from lampq_tvm.ptx.lanes import Active
from lampq_tvm.ptx.machine import Machine
from lampq_tvm.ptx.meanings.move import value
from lampq_tvm.ptx.meanings.registry import Effect, Lanewise, Meaning, Step, meaning, parts, unknown
from lampq_tvm.ptx.module import Address, Instruction, Operand, Vector
from lampq_tvm.ptx.types import ITEMS, TYPES, bits_of

SPACES = ("global", "shared", "shared__cta", "local", "const", "param", "param__entry")
# How a cache is used, and in which order others see it: no lane's value depends on it, barriers being watched apart.
HINTS = (
    *("ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "volatile", "weak", "relaxed", "cta", "gpu", "sys", "L1__no_allocate"),
    *("L1__evict_first", "L1__evict_last", "L1__evict_normal", "L1__evict_unchanged", "L2__64B", "L2__128B", "L2__256B"),
)


def space_of(instruction: Instruction, *more: str) -> tuple[str, str, int]:
    """State space, element type and number of elements of a load or store."""
    types, flags = parts(instruction, *SPACES, *HINTS, "v2", "v4", *more)
    spaces = [m.partition("__")[0] for m in instruction.modifiers if m in SPACES]
    if len(types) != 1 or types[0] == "pred" or len(spaces) > 1:
        raise unknown(instruction)
    count = 4 if "v4" in flags else 2 if "v2" in flags else 1
    if bits_of(types[0]) * count > 128:
        raise unknown(instruction)
    return (spaces[0] if spaces else "generic"), types[0], count


@meaning("ld", "ldu")
def load(instruction: Instruction) -> Meaning:
    """Each lane reads one element, or 2 or 4 in a row, from its address, which is a multiple of all their bytes; a register
    wider than the element is filled by the element's sign.
    """
    space, kind, count = space_of(instruction)
    target, address = instruction.operands
    targets = target.items if isinstance(target, Vector) else (target,)
    if len(targets) != count or not isinstance(address, Address):
        raise unknown(instruction)
    return Effect(lambda machine: _bind_load(machine, space, kind, targets, address))


@meaning("st")
def store(instruction: Instruction) -> Meaning:
    """Each lane writes one element, or 2 or 4 in a row, to its address, which is a multiple of all their bytes."""
    space, kind, count = space_of(instruction)
    address, source = instruction.operands
    sources = source.items if isinstance(source, Vector) else (source,)
    if len(sources) != count or space in ("param", "const"):
        raise unknown(instruction)
    return Effect(lambda machine: _bind_store(machine, space, kind, sources, address))


@meaning("prefetch", "prefetchu")
def prefetch(instruction: Instruction) -> Meaning:
    """A hint to the caches: nothing that a lane could see."""
    return Lanewise(lambda: (), (), ())


def _bind_load(machine: Machine, space: str, kind: str, targets: tuple[Operand, ...], operand: Address) -> Step:
    address = machine.address(operand)
    puts = [machine.picked_target(target, kind) for target in targets]
    dtype, width = TYPES[kind], TYPES[kind].itemsize * len(targets)

    def step(active: Active) -> None:
        items = machine.load(space, active.pick(address()), width, active.index).view(dtype).reshape(-1, len(puts))
        for i, put in enumerate(puts):
            put(items[:, i], active)

    return step


def _bind_store(machine: Machine, space: str, kind: str, sources: tuple[Operand, ...], operand: Operand) -> Step:
    address = machine.address(operand)
    values = [machine.source(source, kind) for source in sources]
    item = ITEMS[TYPES[kind].itemsize * len(sources)]

    def step(active: Active) -> None:
        if len(values) == 1:
            items = active.pick(value(values[0])).view(item)
        else:
            items = np.stack([active.pick(value(v)) for v in values], axis=1).view(item)[:, 0]
        machine.store(space, active.pick(address()), items, active.index)

    return step
