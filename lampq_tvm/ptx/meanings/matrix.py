"""Matrices between shared memory and a warp's registers. Source: PTX ISA, Warp Level Matrix Instructions:
ldmatrix, stmatrix.
"""

from __future__ import annotations

import numpy as np

from lampq_tvm.ptx.lanes import WARP, Active
from lampq_tvm.ptx.machine import SHARED_BASE, Machine
from lampq_tvm.ptx.meanings.registry import Effect, Meaning, Step, meaning, parts, unknown
from lampq_tvm.ptx.module import Instruction, Operand, Vector
from lampq_tvm.ptx.types import Array

COUNTS = {"x1": 1, "x2": 2, "x4": 4}


@meaning("ldmatrix", "stmatrix")
def matrix(instruction: Instruction) -> Meaning:
    """A warp moves 1, 2 or 4 matrices of 8 rows of 8 b16: lane 8j + i names the address of row i of matrix j, 16 bytes at a
    multiple of 16; register j of lane l holds the elements 2(l%4), 2(l%4)+1 of row l/4, with `.trans` of the transposed.
    """
    types, flags = parts(instruction, "sync", "aligned", "m8n8", "trans", "shared", "shared__cta", *COUNTS)
    counts = [COUNTS[m] for m in instruction.modifiers if m in COUNTS]
    loads = instruction.opcode == "ldmatrix"
    registers, address = instruction.operands if loads else instruction.operands[::-1]
    items = registers.items if isinstance(registers, Vector) else (registers,)
    if len(counts) != 1 or len(items) != counts[0] or not {"sync", "aligned", "m8n8"} <= flags or types != ("b16",):
        raise unknown(instruction)
    trans, generic = "trans" in flags, not flags & {"shared", "shared__cta"}
    bind = _bind_load if loads else _bind_store
    return Effect(lambda machine: bind(machine, items, address, trans, generic), together=-1)


def _rows(machine: Machine, active: Active, addresses: Array, count: int, generic: bool) -> tuple[Array, Array]:
    """Addresses of the rows, [V * 8 count], and the lanes that name them."""
    lanes = (active.warps[:, None] * WARP + np.arange(8 * count)).reshape(-1)
    places = addresses[lanes]
    return (places - np.uint64(SHARED_BASE) if generic else places), lanes


def _bind_load(machine: Machine, items: tuple[Operand, ...], operand: Operand, trans: bool, generic: bool) -> Step:
    address, count = machine.address(operand), len(items)
    puts = [machine.target(item, "b32") for item in items]

    def step(active: Active) -> None:
        places, lanes = _rows(machine, active, address(), count, generic)
        rows = machine.load("shared", places, 16, lanes).view(np.uint16).reshape(-1, count, 8, 8)
        if trans:
            rows = np.ascontiguousarray(rows.swapaxes(2, 3))
        words = rows.view(np.uint32).reshape(-1, count, WARP)
        for i, put in enumerate(puts):
            put(spread(machine, active, words[:, i]), active)

    return step


def _bind_store(machine: Machine, items: tuple[Operand, ...], operand: Operand, trans: bool, generic: bool) -> Step:
    address, count = machine.address(operand), len(items)
    values = [machine.source(item, "b32") for item in items]

    def step(active: Active) -> None:
        words = np.stack([gathered(active, v if isinstance(v, np.ndarray) else v()) for v in values], axis=1)
        rows = words.view(np.uint16).reshape(-1, count, 8, 8)
        if trans:
            rows = rows.swapaxes(2, 3)
        places, lanes = _rows(machine, active, address(), count, generic)
        machine.store("shared", places, np.ascontiguousarray(rows).reshape(-1).view(np.complex128), lanes)

    return step


def gathered(active: Active, values: Array) -> Array:
    """[L] -> [V, 32]: a register by warps."""
    by_warp = values.reshape(-1, WARP)
    return by_warp if active.warps.size == by_warp.shape[0] else by_warp[active.warps]


def spread(machine: Machine, active: Active, by_warp: Array) -> Array:
    """[V, 32] -> [L]: what the other warps get is never written."""
    if active.warps.size * WARP == machine.lanes.count:
        return by_warp.reshape(-1)
    result = np.zeros((machine.lanes.warps * machine.lanes.blocks, WARP), by_warp.dtype)
    result[active.warps] = by_warp
    return result.reshape(-1)
