"""Asynchronous copies. Source: PTX ISA, Data Movement and Conversion Instructions: Non-bulk copy."""

from __future__ import annotations

import numpy as np

from lampq_tvm.ptx.lanes import Active
from lampq_tvm.ptx.machine import Machine
from lampq_tvm.ptx.meanings.move import value
from lampq_tvm.ptx.meanings.registry import Effect, Meaning, Step, meaning, parts, unknown
from lampq_tvm.ptx.module import Immediate, Instruction
from lampq_tvm.ptx.types import ITEMS, Array

FLAGS = ("async", "ca", "cg", "shared", "shared__cta", "global", "commit_group", "wait_group", "wait_all")
HINTS = ("L2__64B", "L2__128B", "L2__256B")


@meaning("cp")
def copy(instruction: Instruction) -> Meaning:
    """`cp.async` begins a copy of 4, 8 or 16 bytes (`.cg`: 16) from each lane's global to its shared address, of which only
    `src-size` are read and the rest are zero; `commit_group` closes the lane's group of copies; `wait_group N` waits for all
    but its N newest groups, `wait_all` for every copy. The bytes are in shared memory after such a wait and not before.
    """
    _, flags = parts(instruction, *FLAGS, *HINTS)
    operands = instruction.operands
    if "async" not in flags:
        raise unknown(instruction)
    if "commit_group" in flags:
        return Effect(lambda machine: lambda active: machine.copies.commit(active.index))
    if "wait_all" in flags:
        return Effect(_wait_all)
    if "wait_group" in flags:
        newest = operands[0]
        if not isinstance(newest, Immediate):
            raise unknown(instruction)
        return Effect(lambda machine: lambda active: machine.copies.wait(active.mask, newest.value))
    size = operands[2] if len(operands) > 2 else None
    allowed = (16,) if "cg" in flags else (4, 8, 16)
    if not isinstance(size, Immediate) or size.value not in allowed or len(operands) > 4 or "global" not in flags:
        raise unknown(instruction)
    if len(operands) == 4 and getattr(operands[3], "type", "") == "pred":
        raise unknown(instruction)
    return Effect(lambda machine: _bind(machine, instruction, size.value))


def _wait_all(machine: Machine) -> Step:
    def step(active: Active) -> None:
        machine.copies.commit(active.index)
        machine.copies.wait(active.mask, 0)

    return step


def _bind(machine: Machine, instruction: Instruction, size: int) -> Step:
    target, source = (machine.address(operand) for operand in instruction.operands[:2])
    given = machine.source(instruction.operands[3], "u32") if len(instruction.operands) == 4 else None

    def step(active: Active) -> None:
        lanes, places = active.index, active.pick(source())
        if given is None:
            items = machine.load("global", places, size, lanes)
        else:
            items = _partial(machine, places, size, active.pick(value(given)), lanes)
        machine.copies.issue(lanes, active.pick(target()), items)

    return step


def _partial(machine: Machine, places: Array, size: int, sizes: Array, lanes: Array) -> Array:
    """Items of which `sizes` bytes are read; a lane that reads none may name any address."""
    items = np.zeros((places.size, size), np.uint8)
    whole = sizes >= size
    items[whole] = machine.load("global", places[whole], size, lanes[whole]).view(np.uint8).reshape(-1, size)
    for at in range(size):
        some = ~whole & (at < sizes)
        if some.any():
            items[some, at] = machine.load("global", places[some] + np.uint64(at), 1, lanes[some])
    return items.reshape(-1).view(ITEMS[size])
