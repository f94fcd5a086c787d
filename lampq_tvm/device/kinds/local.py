"""`local`: this machine's cores, in this process, and its GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lampq_tvm.device.clocks import read_cpu_clocks
from lampq_tvm.device.kind import SESSION_S, Code, Device, needs
from lampq_tvm.device.kinds import KINDS
from lampq_tvm.errors import LampqError
from lampq_tvm.targets import Target, check_runs_here
from lampq_tvm.targets.machine import local_identity

if TYPE_CHECKING:
    from lampq_tvm.device.cuda.driver import Driver


@KINDS.register("local")
class Local(Device):
    """This machine."""

    form = "local"
    here = True

    @classmethod
    def about(cls) -> str:
        """The kind in a line."""
        return "this machine"

    def open(self, code: Code | None = None, *, key: str | None = None, session_timeout_s: float = SESSION_S) -> None:
        """No session: code runs in this process, where it can.

        Raises:
            UnsupportedError: it cannot.
        """
        if code is not None:
            check_runs_here(*needs(code))

    def identity(self, target: Target) -> list[Any]:
        """This machine's name and its cores' models."""
        if target.cuda_major is None:  # code for a GPU is checked against the GPU
            self.open(target)
        return [self.name, *local_identity()]

    def describe(self) -> dict[str, Any]:
        """What this machine says about itself, its GPU included."""
        from lampq_tvm.device.session import device_info

        try:
            gpu = self.gpu()
            text = gpu.line
            gpu.close()
        except LampqError as e:
            text = str(e)
        return {**device_info(), "gpu": text}

    def clocks(self, session: object) -> dict[str, Any] | None:
        """The clocks of its cores."""
        return read_cpu_clocks()

    def gpu(self) -> Driver:
        """Its GPU.

        Raises:
            DeviceError: it has none.
        """
        from lampq_tvm.device.cuda.driver import Driver

        return Driver()
