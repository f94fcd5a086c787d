"""Exchange between the lanes of a warp. Source: PTX ISA, Data Movement and Conversion Instructions: shfl.sync;
Parallel Synchronization and Communication Instructions: vote.sync, redux.sync, activemask.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from lampq_tvm.ptx.errors import Fault
from lampq_tvm.ptx.lanes import WARP, Active
from lampq_tvm.ptx.machine import Machine
from lampq_tvm.ptx.meanings.atomic import OPERATIONS
from lampq_tvm.ptx.meanings.matrix import gathered, spread
from lampq_tvm.ptx.meanings.move import value
from lampq_tvm.ptx.meanings.registry import Effect, Meaning, Step, meaning, parts, unknown
from lampq_tvm.ptx.module import Instruction, Pair
from lampq_tvm.ptx.types import Array

LANE = np.arange(WARP)


@meaning("shfl")
def shuffle(instruction: Instruction) -> Meaning:
    """Lane l gets `a` of another lane of its segment: l - b (`up`), l + b (`down`), l ^ b (`bfly`), b (`idx`).

    `c` holds the segments' mask in bits 8 to 12 and the clamp in bits 0 to 4; a lane outside keeps its own `a`, and its
    predicate is false.
    """
    types, flags = parts(instruction, "sync", "up", "down", "bfly", "idx")
    modes = flags - {"sync"}
    if types != ("b32",) or "sync" not in flags or len(modes) != 1 or len(instruction.operands) != 5:
        raise unknown(instruction)
    mode = next(iter(modes))
    return Effect(lambda machine: _bind_shuffle(machine, instruction, mode), together=4)


def _bind_shuffle(machine: Machine, instruction: Instruction, mode: str) -> Step:
    target, *operands = instruction.operands
    a, b, c = (machine.source(operand, "u32") for operand in operands[:3])
    first, second = (target.first, target.second) if isinstance(target, Pair) else (target, None)
    put = machine.target(first, "b32")
    put_predicate = machine.target(second, "pred") if second is not None else None

    def step(active: Active) -> None:
        values, by, bound = (gathered(active, value(x)).astype(np.int64) for x in (a, b, c))
        source, inside = _partner(mode, by & 31, bound & 31, bound >> 8 & 31)
        present = gathered(active, active.mask)
        heard = np.take_along_axis(present, source, axis=1)
        bad = present & ~heard
        if bad.any():
            warp, lane = np.argwhere(bad)[0]
            reader = int(active.warps[warp] * WARP + lane)
            raise Fault(f"takes the value of lane {source[warp, lane]}, which is not there", reader)
        put(spread(machine, active, np.take_along_axis(values, source, axis=1).astype(np.uint32)), active)
        if put_predicate is not None:
            put_predicate(spread(machine, active, inside), active)

    return step


def _partner(mode: str, by: Array, clamp: Array, segment: Array) -> tuple[Array, Array]:
    """The lane that each lane hears, and whether it lies inside the segment."""
    low = LANE & segment
    high = low | (clamp & ~segment)
    if mode == "up":
        source = LANE - by
        inside = source >= high
    else:
        source = {"down": LANE + by, "bfly": LANE ^ by, "idx": low | (by & ~segment)}[mode]
        inside = source <= high
    return np.where(inside, source, LANE), inside


@meaning("vote")
def vote(instruction: Instruction) -> Meaning:
    """Over the lanes of the mask: do `all`, `any`, or all alike (`uni`) have the predicate; `ballot`: a bit from each."""
    types, flags = parts(instruction, "sync", "all", "any", "uni", "ballot")
    modes = flags - {"sync"}
    if "sync" not in flags or len(modes) != 1 or len(types) != 1:
        raise unknown(instruction)
    mode = next(iter(modes))
    return Effect(lambda machine: _bind_vote(machine, instruction, mode), together=2)


def _bind_vote(machine: Machine, instruction: Instruction, mode: str) -> Step:
    predicate, members = machine.source(instruction.operands[1], "pred"), machine.source(instruction.operands[2], "u32")
    put = machine.target(instruction.operands[0], "b32" if mode == "ballot" else "pred")

    def step(active: Active) -> None:
        yes, mask = gathered(active, value(predicate)), _members(active, value(members))
        count, size = (yes[:, None, :] & mask).sum(axis=2), mask.sum(axis=2)
        if mode == "ballot":
            bits = ((yes[:, None, :] & mask) << LANE).sum(axis=2).astype(np.uint32)
            put(spread(machine, active, bits), active)
        else:
            result = {"all": count == size, "any": count > 0, "uni": (count == size) | (count == 0)}[mode]
            put(spread(machine, active, result), active)

    return step


@meaning("redux")
def reduction(instruction: Instruction) -> Meaning:
    """`a` of the mask's lanes combined: `add` (modulo 2^32), `min`, `max`, `and`, `or`, `xor`; every lane gets the result."""
    names = {"add", "min", "max", "and", "or", "xor"}
    types, flags = parts(instruction, "sync", *names)
    modes = flags & names
    if "sync" not in flags or len(modes) != 1 or types[0] not in ("u32", "s32", "b32"):
        raise unknown(instruction)
    mode, kind = next(iter(modes)), types[0]
    return Effect(lambda machine: _bind_reduction(machine, instruction, mode, kind), together=2)


def _bind_reduction(machine: Machine, instruction: Instruction, mode: str, kind: str) -> Step:
    source, members = machine.source(instruction.operands[1], kind), machine.source(instruction.operands[2], "u32")
    put = machine.target(instruction.operands[0], kind)
    function = OPERATIONS[mode]

    def step(active: Active) -> None:
        given = value(source)
        info = np.iinfo(given.dtype)
        neutral = {"add": 0, "min": info.max, "max": info.min, "and": -1 if info.min else info.max, "or": 0, "xor": 0}[mode]
        chosen = np.where(_members(active, value(members)), gathered(active, given)[:, None, :], given.dtype.type(neutral))
        put(spread(machine, active, reduce(function, (chosen[:, :, i] for i in range(WARP)))), active)

    return step


@meaning("activemask")
def active_mask(instruction: Instruction) -> Meaning:
    """A bit for each lane of the warp that runs this instruction now."""
    types, _ = parts(instruction)
    if types != ("b32",):
        raise unknown(instruction)

    def bind(machine: Machine) -> Step:
        put = machine.target(instruction.operands[0], "b32")

        def step(active: Active) -> None:
            bits = (gathered(active, active.mask) << LANE).sum(axis=1).astype(np.uint32)
            put(spread(machine, active, np.repeat(bits[:, None], WARP, axis=1)), active)

        return step

    return Effect(bind)


def _members(active: Active, masks: Array) -> Array:
    """[V, 32, 32] bool: whose values each lane's member mask takes in."""
    bits = (gathered(active, masks)[:, :, None] >> LANE.astype(np.uint32) & np.uint32(1)).astype(np.bool_)
    return bits & gathered(active, active.mask)[:, None, :]
