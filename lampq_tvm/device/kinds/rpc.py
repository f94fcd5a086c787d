"""`rpc://host:port`: a machine where `lampq device serve` runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lampq_tvm.device.key import client_key
from lampq_tvm.device.kind import SESSION_S, Code, Device
from lampq_tvm.device.kinds import KINDS, without_secrets
from lampq_tvm.device.rpc import Session, open_session
from lampq_tvm.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self


@KINDS.register("rpc")
class Rpc(Device):
    """A machine at an address.

    Attributes:
        host, port: where its server listens.
    """

    form = "rpc://host:port"

    def __init__(self, name: str, host: str, port: int) -> None:
        super().__init__(name)
        self.host, self.port = host, port

    @classmethod
    def about(cls) -> str:
        """The kind in a line."""
        return "a machine where `lampq device serve` runs; ssh -L reaches its port"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The machine at an address."""
        return cls(text, *parse_rpc(text))

    def check(self) -> None:
        """Refuse a key that is none.

        Raises:
            UsageError: it is no secret.
        """
        client_key()

    def open(self, code: Code | None = None, *, key: str | None = None, session_timeout_s: float = SESSION_S) -> Session:
        """A session there; `key.client_key` says where a key is looked for that is not given."""
        key = key or client_key()
        return open_session(self.name, self.host, self.port, code, key=key, session_timeout_s=session_timeout_s)


def parse_rpc(text: str) -> tuple[str, int]:
    """Host and port of `rpc://host:port`.

    Raises:
        UsageError: it is not of this form, or holds a key, which is not repeated.
    """
    shown = without_secrets(text)
    if text.startswith("rpc://") and shown != text:
        hint = "give its key file in --key-file or $LAMPQ_DEVICE_KEY_FILE, or the key in $LAMPQ_DEVICE_KEY"
        raise UsageError("a key does not belong into a device's name, which everyone can see", where=shown, hint=hint)
    match = re.fullmatch(r"rpc://(\[[0-9a-fA-F:]+\]|[^:/\s\[\]]+):(\d{1,5})", text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise UsageError("not a device", where=shown or "--device", hint=f"use {Rpc.form}")
    return match[1].strip("[]"), int(match[2])
