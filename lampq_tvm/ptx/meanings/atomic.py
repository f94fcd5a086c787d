"""Atomic operations. Source: PTX ISA, Parallel Synchronization and Communication Instructions: atom, red."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lampq_tvm.ptx.lanes import Active
from lampq_tvm.ptx.machine import Machine
from lampq_tvm.ptx.meanings.access import SPACES
from lampq_tvm.ptx.meanings.move import value
from lampq_tvm.ptx.meanings.registry import Effect, Meaning, Step, meaning, parts, unknown
from lampq_tvm.ptx.module import Instruction, Operand
from lampq_tvm.ptx.types import ITEMS, TYPES, Array

OPERATIONS: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "exch": lambda old, new: new,
}
HINTS = ("relaxed", "acquire", "release", "acq_rel", "cta", "gpu", "sys", "noftz")


@meaning("atom", "red")
def atomic(instruction: Instruction) -> Meaning:
    """Each lane, one after the other, replaces what its address holds by an operation on it; `atom` returns what was there.

    A GPU leaves the order of lanes open; here it is that of their numbers.
    """
    types, _ = parts(instruction, *SPACES, *HINTS, *OPERATIONS, "cas")
    names = [m for m in instruction.modifiers if m in OPERATIONS or m == "cas"]
    spaces = [m.partition("__")[0] for m in instruction.modifiers if m in SPACES]
    if len(types) != 1 or len(names) != 1 or types[0] in ("f16", "f16x2", "b16", "pred"):
        raise unknown(instruction)
    operands = instruction.operands if instruction.opcode == "atom" else (None, *instruction.operands)
    return Effect(lambda machine: _bind(machine, spaces[0] if spaces else "generic", types[0], names[0], operands))


def _bind(machine: Machine, space: str, kind: str, name: str, operands: tuple[Operand | None, ...]) -> Step:
    target, place, *sources = operands
    assert place is not None
    address = machine.address(place)
    values = [machine.source(source, kind) for source in sources if source is not None]
    put = machine.picked_target(target, kind) if target is not None else None
    item, dtype = ITEMS[TYPES[kind].itemsize], TYPES[kind]

    def one(old: Array, each: list[Array]) -> Array:
        return np.where(old == each[0], each[1], old) if name == "cas" else OPERATIONS[name](old, each[0])

    def step(active: Active) -> None:
        where = active.pick(address())
        given = [active.pick(value(v)) for v in values]
        result = np.zeros(where.size, dtype)
        for turn in _turns(where):
            old = machine.load(space, where[turn], item.itemsize, active.index[turn], watch=False).view(dtype)
            new = one(old, [g[turn] for g in given])
            machine.store(space, where[turn], np.ascontiguousarray(new).view(item), active.index[turn], watch=False)
            result[turn] = old
        if put is not None:
            put(result, active)
        if space != "shared":
            machine.counted(active)

    return step


def _turns(addresses: Array) -> list[Array]:
    """Lanes in turns in which every address occurs once, in the lanes' order."""
    order = np.argsort(addresses, kind="stable")
    ordered = addresses[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    rank = np.arange(ordered.size) - np.repeat(starts, np.diff(np.r_[starts, ordered.size]))
    return [order[rank == turn] for turn in range(int(rank.max()) + 1 if rank.size else 0)]
