"""Which lanes run what next.

Every lane has a program counter. The lanes with the smallest one run together, until the next instruction at which others
stand or control flow; so lanes that took different branches meet again behind them, and code that does not diverge runs
for all lanes at once. Lanes wait at a block's barrier, and at instructions of a warp for the lanes of their mask.
"""

from __future__ import annotations

import numpy as np

from lampq_tvm.ptx.errors import Fault, KernelError
from lampq_tvm.ptx.lanes import WARP, Active
from lampq_tvm.ptx.machine import Machine
from lampq_tvm.ptx.module import Immediate
from lampq_tvm.ptx.program import Bound
from lampq_tvm.ptx.types import Array


class Schedule:
    """A chunk of blocks that runs.

    Args:
        program: bound to `machine`.
        machine: the chunk's.
        name: of the kernel, for messages.
        most: instructions (of the chunk's schedule) after which the kernel counts as endless.
    """

    def __init__(self, program: list[Bound], machine: Machine, name: str, most: int) -> None:
        self._program, self._machine, self._name, self._left = program, machine, name, most
        lanes = machine.lanes
        self._pc = np.zeros(lanes.count, np.int64)
        self._live = lanes.number < lanes.threads
        self._at_barrier = np.zeros(lanes.count, np.bool_)
        self._stuck = np.zeros(lanes.count, np.bool_)
        self._by_block = (lanes.blocks, lanes.padded)
        self._everyone = Active(self._live, True)
        self.executed = 0  # instructions of warps

    def run(self) -> None:
        """Run until every lane has exited."""
        with np.errstate(all="ignore"):
            while self._live.any():
                ready = self._live & ~self._at_barrier & ~self._stuck
                if not ready.any():
                    self._deadlock()
                at = int(self._pc[ready].min())
                mask = self._live & ~self._at_barrier & (self._pc == at)
                self._stuck[mask] = False
                rest = ready & ~mask
                limit = int(self._pc[rest].min()) if rest.any() else len(self._program)
                self._segment(at, limit, mask)

    def _segment(self, at: int, limit: int, mask: Array) -> None:
        """Run the lanes of `mask` from `at` up to `limit` or to where they part."""
        alone = bool((mask == self._live).all())
        if alone and (self._everyone.mask != mask).any():
            self._everyone = Active(mask.copy(), True)
        active = self._everyone if alone else Active(mask, False)
        program, start, left = self._program, at, self._left
        try:
            while at < limit:
                bound = program[at]
                if bound.plain or (alone and not bound.flow and bound.guard is None):
                    assert bound.step is not None
                    bound.step(active)
                    at += 1
                elif bound.flow == "bra" and (bound.guard is None or not bound.guard()[mask].any()):
                    at = bound.instruction.targets[0] if bound.guard is None else at + 1
                    if at <= start:
                        break
                else:
                    self.executed += (left - self._left + 1) * len(active.warps)
                    self._part(at, bound, active)
                    return
                self._left -= 1
        except Fault as fault:
            raise self._error(fault.what, program[at], fault.lane, fault.address) from fault
        self.executed += (left - self._left) * len(active.warps)
        if self._left < 0:
            raise self._error("does not end", program[min(at, len(program) - 1)], int(active.index[0]))
        if at >= len(program):
            self._live &= ~mask
            self._release()
        self._pc[mask] = at

    def _part(self, at: int, bound: Bound, active: Active) -> None:
        """An instruction after which lanes may stand at different places."""
        self._left -= 1
        self._pc[active.mask] = at + 1
        some = active if bound.guard is None else active.under(bound.guard())
        if not some.mask.any():
            return
        if bound.flow == "bra":
            self._pc[some.mask] = bound.instruction.targets[0]
        elif bound.flow == "exit":
            self._live = self._live & ~some.mask
            self._release()
        elif bound.flow == "bar":
            self._arrive(at, bound, some)
        elif bound.flow == "brx":
            self._indexed(bound, some)
        elif bound.flow == "trap":
            raise self._error("stops at a trap", bound, int(some.index[0]))
        else:
            self._together(at, bound, some)

    def _arrive(self, at: int, bound: Bound, active: Active) -> None:
        """Lanes reach a barrier."""
        count = bound.instruction.operands[1:2]
        if count and (not isinstance(count[0], Immediate) or count[0].value != self._machine.lanes.padded):
            raise self._error("waits at a barrier for a part of the block, which is not modelled", bound, int(active.index[0]))
        if active.full and (active.mask == self._live).all():
            self._machine.barrier(None)
            return
        self._pc[active.mask] = at
        self._at_barrier |= active.mask
        self._release()

    def _release(self) -> None:
        """Let blocks go on of which every lane that has not exited waits at one barrier."""
        if not self._at_barrier.any():
            return
        live, waiting = self._live.reshape(self._by_block), self._at_barrier.reshape(self._by_block)
        pc = self._pc.reshape(self._by_block)
        low = np.where(live, pc, np.iinfo(np.int64).max).min(axis=1)
        high = np.where(live, pc, -1).max(axis=1)
        ready = np.flatnonzero((live == (waiting & live)).all(axis=1) & (low == high))
        if ready.size:
            pc[ready] += 1
            waiting[ready] = False
            self._machine.barrier(ready)

    def _together(self, at: int, bound: Bound, active: Active) -> None:
        """Lanes at an instruction of their warp: those whose company is complete run it, the others wait."""
        assert bound.members is not None
        assert bound.step is not None
        members = bound.members()
        here = _bits(active.mask)
        alive = _bits(self._live)
        lacking = (members & alive & ~here) != 0
        waits = active.mask & lacking
        runs = active.mask & ~lacking
        self._pc[waits] = at
        self._stuck |= waits
        own = np.uint32(1) << (self._machine.lanes.number % WARP).astype(np.uint32)
        outside = runs & (members & own == 0)
        if outside.any():
            raise self._error("is not in the mask of lanes that it names", bound, int(outside.argmax()))
        if runs.any():
            try:
                bound.step(Active(runs, bool((runs == self._live).all())))
            except Fault as fault:
                raise self._error(fault.what, bound, fault.lane, fault.address) from fault

    def _indexed(self, bound: Bound, active: Active) -> None:
        index = self._machine.source(bound.instruction.operands[0], "u32")
        assert isinstance(index, np.ndarray)
        table = np.array(bound.instruction.targets)
        wanted = index[active.index]
        if (wanted >= table.size).any():
            raise self._error("branches outside its table", bound, int(active.index[(wanted >= table.size).argmax()]))
        self._pc[active.index] = table[wanted]

    def _deadlock(self) -> None:
        lane = int((self._live & (self._at_barrier | self._stuck)).argmax())
        bound = self._program[int(self._pc[lane])]
        if not self._at_barrier[lane]:
            raise self._error("waits for lanes of its warp that never come", bound, lane)
        block = self._machine.lanes.block_of == self._machine.lanes.block_of[lane]
        others = self._live & block & (self._pc != self._pc[lane])
        missing = f", but {self._machine.lanes.name(int(others.argmax()))} does not come" if others.any() else ""
        raise self._error(f"waits at a barrier that not all threads of its block reach{missing}", bound, lane)

    def _error(self, what: str, bound: Bound, lane: int, address: int | None = None) -> KernelError:
        instruction = bound.instruction
        at = f" at address {address:#x}" if address is not None else ""
        where = f"kernel {self._name}, PTX line {instruction.line} ({instruction.text})"
        return KernelError(f"{self._machine.lanes.name(lane)} {what}{at}", where=where)


def _bits(mask: Array) -> Array:
    """[L] bool to each lane's warp as 32 bits, [L] uint32."""
    words = (mask.reshape(-1, WARP).astype(np.uint64) << np.arange(WARP, dtype=np.uint64)).sum(axis=1).astype(np.uint32)
    return np.repeat(words, WARP)
