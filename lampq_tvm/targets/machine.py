"""This machine's architecture and CPU features, and whether compiled code can run on it."""

from __future__ import annotations

import functools
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.levels import CPU_ARCHES


def check_runs_here(arch: str, features: Sequence[str]) -> None:
    """Refuse code for another architecture, or code that needs features this CPU lacks.

    Raises:
        UnsupportedError: it cannot run here.
    """
    here = local_arch()
    if arch != here:
        raise UnsupportedError(f"it was compiled for {arch}, this machine is {here}", hint="compile for this target")
    missing = sorted(set(features) - local_features())
    if missing:
        raise UnsupportedError(f"this CPU lacks {' '.join(missing)}", hint="compile for a target without them")


def local_arch() -> str:
    """`x86` or `aarch64`.

    Raises:
        UnsupportedError: this machine is neither, or not Linux.
    """
    machine = platform.machine().lower()
    kind = next((arch.name for arch in CPU_ARCHES.values() if machine in arch.machines), None)
    if kind is None or not sys.platform.startswith("linux"):
        raise UnsupportedError(f"{sys.platform} on {machine} is not supported", hint="use Linux on x86-64 or aarch64")
    return kind


@functools.cache
def local_features(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """Features that every core lists (a board may mix cores); empty where the file is missing."""
    try:
        text = Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return frozenset()
    rows = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, flags=re.MULTILINE)
    return frozenset.intersection(*(frozenset(row.split()) for row in rows)) if rows else frozenset()


@functools.cache
def local_identity(path: str = "/proc/cpuinfo") -> list[str]:
    """This machine's name and its cores' models: times that were taken here hold for no other machine."""
    try:
        text = Path(path).read_text("utf-8", errors="replace")
    except OSError:
        text = ""
    return [platform.node(), *sorted(set(re.findall(r"^(?:model name|CPU part)\s*:(.*)$", text, flags=re.MULTILINE)))]
