"""An entry's instructions bound to a machine: one closure each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lampq_tvm.ptx.errors import UnknownInstructionError
from lampq_tvm.ptx.lanes import Active
from lampq_tvm.ptx.machine import Getter, Machine, Putter
from lampq_tvm.ptx.meanings import FAMILIES
from lampq_tvm.ptx.meanings.move import value
from lampq_tvm.ptx.meanings.registry import Effect, Flow, Lanewise, Step, find, unknown
from lampq_tvm.ptx.module import Instruction, Operand, Pair
from lampq_tvm.ptx.types import Array


@dataclass(frozen=True)
class Bound:
    """An instruction on a machine.

    Attributes:
        instruction: the parsed one.
        step: what the active lanes do; None for control flow.
        flow: the kind of control flow, or an empty string.
        guard: gives the predicate, [L] bool, or None.
        members: gives the masks of lanes that run this together, [L] uint32, or None.
    """

    instruction: Instruction
    step: Step | None
    flow: str
    guard: Getter | None
    members: Getter | None

    @property
    def plain(self) -> bool:
        """Whether lanes go through without looking at others or moving elsewhere."""
        return not self.flow and self.members is None


def bind(instructions: tuple[Instruction, ...], machine: Machine) -> list[Bound]:
    """Bind every instruction.

    Raises:
        UnknownInstructionError: one has no meaning; the message names it and its line.
    """
    assert FAMILIES
    return [_bind(instruction, machine) for instruction in instructions]


def _bind(instruction: Instruction, machine: Machine) -> Bound:
    try:
        found = find(instruction)
    except (IndexError, ValueError) as wrong:
        raise unknown(instruction) from wrong
    guard = _getter(machine.source(instruction.guard, "pred")) if instruction.guard is not None else None
    if isinstance(found, Flow):
        return Bound(instruction, None, found.kind, guard, None)
    if isinstance(found, Effect):
        step, members = found.bind(machine), None
        if found.together is not None:
            whole = np.full(machine.lanes.count, 0xFFFFFFFF, np.uint32)
            source = whole if found.together < 0 else machine.source(instruction.operands[found.together], "u32")
            members = _getter(source)
        return Bound(instruction, _guarded(step, guard), "", guard, members)
    return Bound(instruction, _guarded(_lanewise(instruction, found, machine), guard), "", guard, None)


def _lanewise(instruction: Instruction, form: Lanewise, machine: Machine) -> Step:
    if not form.results:
        return lambda active: None
    first, *operands = instruction.operands
    targets: tuple[Operand, ...] = (first.first, first.second) if isinstance(first, Pair) else (first,)
    if len(targets) != len(form.results) or len(operands) > len(form.sources):
        raise UnknownInstructionError(f"the operands of {instruction.text} are not known", where=f"PTX line {instruction.line}")
    sources = [machine.source(operand, kind) for operand, kind in zip(operands, form.sources, strict=False)]
    puts = [machine.target(target, kind) for target, kind in zip(targets, form.results, strict=True)]
    function = form.function
    if len(puts) > 1:

        def several(active: Active) -> None:
            results = function(*[value(s) for s in sources])
            for put, result in zip(puts, results, strict=True):
                put(result, active)

        return several
    return _single(function, sources, puts[0])


def _single(function: Callable[..., Any], sources: list[Array | Getter], put: Putter) -> Step:
    """A step with one result; arrays that stay valid are bound once."""
    if all(isinstance(s, np.ndarray) for s in sources):
        return lambda active: put(function(*sources), active)
    return lambda active: put(function(*[value(s) for s in sources]), active)


def _guarded(step: Step, guard: Getter | None) -> Step:
    if guard is None:
        return step

    def guarded(active: Active) -> None:
        some = active.under(guard())
        if some is active or some.mask.any():
            step(some)

    return guarded


def _getter(source: Array | Getter) -> Getter:
    return (lambda: source) if isinstance(source, np.ndarray) else source
