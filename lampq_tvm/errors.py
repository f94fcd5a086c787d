"""Every error a user can meet: one line that says what is wrong, where, and what would work."""

from __future__ import annotations

import errno
from pathlib import Path

BUGS = (AttributeError, NameError, AssertionError, ImportError)  # nothing that is read or measured raises these by its content
# No space, no quota, read-only, beyond the limit of a file's size.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
LONGEST = 500  # characters of what is wrong: it may quote a file, whose words may be endless or move a terminal's cursor


def printable(text: str) -> str:
    """Text as it can be printed: what is no character, or would move the cursor, is escaped.

    >>> printable("caf\\udce9/\\x1b[31m")
    'caf\\\\udce9/\\\\x1b[31m'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class LampqError(Exception):
    """Base of all expected errors.

    Args:
        what: what is wrong, one sentence without a final full stop.
        where: the file, layer, option or board it concerns.
        hint: what would work.

    The command line prints `str(error)` and exits with `exit_code`.

    >>> str(UsageError("the checkpoint does not exist", where="vit.safetensors", hint="check the path"))
    'vit.safetensors: the checkpoint does not exist; check the path'
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what)

    def __str__(self) -> str:
        what = self.what if len(self.what) <= LONGEST else f"{self.what[:LONGEST]}..."
        line = what if self.where is None else f"{self.where}: {what}"
        line = line if self.hint is None else f"{line}; {self.hint}"
        return printable(" ".join(line.split()))


class UsageError(LampqError):
    """A wrong argument, or an input file that is missing, broken or unsafe."""

    exit_code = 2


class UnsupportedError(LampqError):
    """A model, operator, board or artifact that this program cannot serve."""

    exit_code = 3


class InfeasibleError(LampqError):
    """No plan meets the budget; the hint names the nearest feasible one."""

    exit_code = 4


class DeviceError(LampqError):
    """The device cannot be reached, or there is no latency to plan with."""

    exit_code = 5


class GateError(LampqError):
    """An output differs from the reference, or accuracy fell below a gate."""

    exit_code = 6


class CorruptError(LampqError):
    """A damaged artifact, database or plan, or a plan that does not fit the model."""

    exit_code = 7


class OutputError(LampqError):
    """The output cannot be written."""

    exit_code = 8


def full_disk(error: OSError) -> OutputError | None:
    """What a failed system call says where a disk is full or read-only; None where it failed for another reason."""
    if error.errno not in FULL:
        return None
    hint = "free some space, or name another folder (the cache's in LAMPQ_CACHE)"
    return OutputError(f"cannot write: {error.strerror}", where=error.filename and str(error.filename), hint=hint)


def is_bug(error: BaseException) -> bool:
    """Whether code of this package itself raised what only a mistake in it raises: no input's and no machine's fault."""
    if not isinstance(error, BUGS):
        return False
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and Path(frame.tb_frame.f_code.co_filename).is_relative_to(Path(__file__).parent)
