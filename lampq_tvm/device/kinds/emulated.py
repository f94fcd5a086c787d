"""`emulated`: the board that the code is for, played by qemu; its instructions are counted, nothing is timed."""

from __future__ import annotations

from typing import Any

from lampq_tvm.device.kind import SESSION_S, Code, Device
from lampq_tvm.device.kinds import KINDS
from lampq_tvm.device.rpc import Session, open_session
from lampq_tvm.device.times import COUNTED
from lampq_tvm.targets import Target, boards


@KINDS.register("emulated")
class Emulated(Device):
    """A board that is not at hand."""

    form = "emulated"
    times = COUNTED

    @classmethod
    def about(cls) -> str:
        """The kind in a line."""
        played = ", ".join(name for name, board in boards().items() if board.cpu is not None)
        return f"the target's board under qemu ({played}); its times are estimates"

    def open(self, code: Code | None = None, *, key: str | None = None, session_timeout_s: float = SESSION_S) -> Session:
        """A session on a board that `lampq device emulate` plays, or that this process does.

        Raises:
            DeviceError: it cannot be played.
            UnsupportedError: the code is for x86.
        """
        from lampq_tvm.device.emulate import played_board, running_board

        port, secret = running_board(played_board(code))
        return open_session(self.name, "127.0.0.1", port, code, key=secret, session_timeout_s=session_timeout_s)

    def identity(self, target: Target) -> list[Any]:
        """What turns counts into estimates, which are the same on every machine: the board's figures and its core's."""
        from lampq_tvm.device.cost import core_of

        core = core_of(target.board)
        return [self.name, target.board and target.board.model_dump(), core and core.digest]
