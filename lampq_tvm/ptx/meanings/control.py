"""Control flow and synchronization. Source: PTX ISA, Control Flow Instructions; Parallel
Synchronization and Communication Instructions: bar, bar.warp.sync, membar, griddepcontrol.
"""

from __future__ import annotations

from lampq_tvm.ptx.lanes import Active
from lampq_tvm.ptx.meanings.registry import Effect, Flow, Meaning, meaning, parts, unknown
from lampq_tvm.ptx.module import Instruction

SCOPES = ("cta", "gpu", "sys", "gl", "sc", "acq_rel", "acquire", "release")


@meaning("bra")
def branch(instruction: Instruction) -> Meaning:
    """Lanes whose guard holds go on at the label; `.uni` promises that all of them do."""
    parts(instruction, "uni")
    return Flow("bra")


@meaning("brx")
def indexed_branch(instruction: Instruction) -> Meaning:
    """Each lane goes on at the label whose place in the table is its index."""
    parts(instruction, "idx", "uni")
    return Flow("brx")


@meaning("ret", "exit")
def leave(instruction: Instruction) -> Meaning:
    """The lanes end."""
    parts(instruction, "uni")
    return Flow("exit")


@meaning("trap")
def trap(instruction: Instruction) -> Meaning:
    """The launch fails."""
    parts(instruction)
    return Flow("trap")


@meaning("bar", "barrier")
def barrier(instruction: Instruction) -> Meaning:
    """`bar.sync`: no lane goes on before all of its block that have not exited are here. `bar.warp.sync`: the same
    for the lanes of a mask in a warp.
    """
    _, flags = parts(instruction, "sync", "aligned", "warp", "cta")
    if "sync" not in flags or (instruction.opcode == "barrier" and "warp" in flags):
        raise unknown(instruction)
    return Effect(lambda machine: _nothing, together=0) if "warp" in flags else Flow("bar")


@meaning("membar", "fence")
def fence(instruction: Instruction) -> Meaning:
    """Orders a lane's accesses to memory for others; here every access is seen at once, and handovers are watched."""
    parts(instruction, *SCOPES)
    device = {"gpu", "sys", "gl"} & set(instruction.modifiers)
    return Effect(lambda machine: machine.fence if device else _nothing)


@meaning("griddepcontrol")
def grid_dependency(instruction: Instruction) -> Meaning:
    """`wait` for the grid before, `launch_dependents`: here a grid begins when the one before has ended."""
    parts(instruction, "wait", "launch_dependents")
    return Effect(lambda machine: _nothing)


def _nothing(active: Active) -> None:
    """No lane's registers change."""
