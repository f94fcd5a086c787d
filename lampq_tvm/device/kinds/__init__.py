"""The kinds of devices, one file each, found by the word before `://` in a device's name."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from lampq_tvm.device.kind import SESSION_S, Code, Device
from lampq_tvm.errors import DeviceError, UnsupportedError, UsageError
from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from lampq_tvm.device.rpc import Session

KINDS: Registry[str, type[Device]] = Registry("kind of device", __name__, DeviceError)
LATER = ("ssh", "tracker")  # announced, and refused by name until a file here serves them
HERE, PLAYED = "local", "emulated"


def find_device(name: str | None = None) -> Device:
    """The device of a name; this machine where None.

    Raises:
        UsageError: it names none.
        UnsupportedError: it names a kind that is not served yet.
    """
    text = HERE if name is None else name
    scheme = text.partition("://")[0]
    kind = KINDS.get(scheme)
    if kind is not None:
        return kind.parse(text)
    shown = without_secrets(text)
    if scheme in LATER and scheme != text:
        hint = "run lampq device serve there, forward its port with ssh -L, and use rpc://127.0.0.1:PORT"
        raise UnsupportedError(f"{scheme} devices are not there yet", where=shown, hint=hint)
    near = difflib.get_close_matches(scheme, KINDS, 1) or KINDS
    hint = f"use {' or '.join(KINDS[each].form for each in near)}"
    raise UsageError("not a device", where=shown or "--device", hint=hint)


def connect(name: str, code: Code | None = None, *, key: str | None = None, session_timeout_s: float = SESSION_S) -> Session:
    """A session with a device; arguments and errors as of `Device.open`.

    Raises:
        UsageError: it names no device, or this process, which needs no session.
    """
    session = find_device(name).open(code, key=key, session_timeout_s=session_timeout_s)
    if session is None:
        raise UsageError("not a device to connect to", where=name, hint="run it in this process")
    return session


def without_secrets(name: str) -> str:
    """A device's name up to its host and port: what stands before and after them may be a secret."""
    scheme, sign, rest = name.rpartition("://")
    return scheme + sign + re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
