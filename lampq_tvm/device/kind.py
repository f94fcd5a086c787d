"""What a kind of device says of itself: how `--device` names one, how code is run there, how its times are judged."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from lampq_tvm.device.times import MEASURED, Times
from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.locks import locked
from lampq_tvm.store import cache_dir
from lampq_tvm.targets import Target

if TYPE_CHECKING:
    from typing_extensions import Self

    from lampq_tvm.device.cuda.gpu import Gpu
    from lampq_tvm.device.rpc import Session

Code = Target | Mapping[str, Any]  # what is going to run somewhere: by its target, or by an artifact's manifest
SESSION_S = 7200


class Device(ABC):
    """A device that was named; nothing is opened yet.

    Attributes:
        form: how `--device` names one, `rpc://host:port`.
        times: how its times are judged.
        here: whether its code runs in this process.
        name: what was said, without what may be a secret: for tables, records and messages.
    """

    form: ClassVar[str]
    times: ClassVar[Times] = MEASURED
    here: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    @abstractmethod
    def about(cls) -> str:
        """The kind in a line, for `lampq device list`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The device that a text of this kind names.

        Raises:
            UsageError: it is not of the kind's form; what may be a secret in it is not repeated.
        """
        if text != cls.form:
            raise UsageError("not a device", where="--device", hint=f"use {cls.form}")
        return cls(text)

    def check(self) -> None:  # noqa: B027  (most kinds need nothing)
        """Refuse what can be refused before any work, without reaching the device.

        Raises:
            UsageError: what it needs of this user is missing or wrong.
        """

    @abstractmethod
    def open(self, code: Code | None = None, *, key: str | None = None, session_timeout_s: float = SESSION_S) -> Session | None:
        """A session there; None: code runs in this process.

        Args:
            code: what is going to run, which the device is checked against.
            key: of the device, where it wants one and is not to look for it.
            session_timeout_s: the device ends the session after this time, even when its program hangs.

        Raises:
            DeviceError: it cannot be reached or does not answer.
            UnsupportedError: it cannot run this code.
        """

    @contextmanager
    def session(self, code: Code | None = None) -> Iterator[Session | None]:
        """The same, closed in the end."""
        opened = self.open(code)
        try:
            yield opened
        finally:
            if opened is not None:
                opened.close()

    @contextmanager
    def timed(self, code: Code) -> Iterator[Session | None]:
        """A session whose times mean something.

        Raises:
            DeviceError: as for `open`, or what answers is a board that is played.
        """
        with self.session(code) as session:
            if session is not None:
                session.check_times()
            yield session

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only command of this cache that times something there; counts are the same in any company."""
        if self.times.counted:
            yield
            return
        path = cache_dir() / "locks" / f"measuring-{re.sub('[^A-Za-z0-9.-]', '_', self.name)}.lock"
        with locked(path, self.name, "waiting for another lampq, which measures on {what}"):
            yield

    def identity(self, target: Target) -> list[Any]:
        """What its times depend on besides the code, for keys: which machine it is, by whatever name it was reached.

        Raises:
            DeviceError, UnsupportedError: as for `open`.
        """
        with self.session(target) as session:
            info = session.info if session is not None else {}
        return [str(info.get("identity") or self.name)]

    def describe(self) -> dict[str, Any]:
        """What it says about itself.

        Raises:
            DeviceError: it cannot be reached.
        """
        with self.session() as session:
            return {} if session is None else session.info

    def clocks(self, session: Session | None) -> dict[str, Any] | None:
        """The clocks that its cores run at now; None where they cannot be read."""
        return None if session is None or session.emulated else session.clocks()

    def gpu(self) -> Gpu:
        """Its GPU.

        Raises:
            UnsupportedError: a GPU is not reached through this kind of device.
            DeviceError: it has none.
        """
        hint = "copy it to the board, install lampq-tvm there, and run it with --device local"
        raise UnsupportedError("CUDA artifacts run on the machine that has the GPU", where=self.name, hint=hint)


def needs(code: Code) -> tuple[str, Sequence[str]]:
    """(architecture, CPU features) of code."""
    return (code.kind, code.features) if isinstance(code, Target) else (code["arch"], tuple(code["features"]))
