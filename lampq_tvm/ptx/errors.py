"""What can go wrong when a kernel runs lane by lane."""

from __future__ import annotations

from lampq_tvm.errors import GateError, UnsupportedError
from lampq_tvm.ptx.types import Array


class KernelError(GateError):
    """A kernel did what no GPU allows: it left an allocation, raced, missed a barrier."""


class UnknownInstructionError(UnsupportedError):
    """The library holds no meaning for an instruction."""


class Fault(Exception):  # noqa: N818 - never leaves the package: the runner names kernel, line and thread
    """An access that fails, before the runner knows whose it is.

    Args:
        what: is wrong, one clause.
        lane: that did it.
        address: in the address space of the instruction, or None.
    """

    def __init__(self, what: str, lane: int, address: int | None = None) -> None:
        self.what, self.lane, self.address = what, lane, address
        super().__init__(what)


def refuse(bad: Array, addresses: Array, lanes: Array, what: str) -> None:
    """Fault at the first access of which `bad`, [A] bool, holds; `addresses` and `lanes` are [A]."""
    if bad.any():
        at = int(bad.argmax())
        raise Fault(what, int(lanes[at]), int(addresses[at]))
