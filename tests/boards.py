"""The targets that tests compile for, and the emulated boards that play the Arm ones."""

from __future__ import annotations

import os

import pytest

from lampq_tvm.device.rpc import Session, connect
from lampq_tvm.errors import DeviceError, OutputError
from lampq_tvm.targets import FEATURES, GENERIC, TRIPLES, Target, resolve_target
from lampq_tvm.targets.machine import local_arch, local_features

ISAS = ("vbmi", "vnni", "avx2", "i8mm", "dotprod", "neon")
BOARDS = {"i8mm": "jetson-agx-thor:cpu", "dotprod": "raspberry-pi-5", "neon": "raspberry-pi-4"}
_absent: dict[str, str] = {}


def target_of(isa: str) -> Target:
    """The target of an instruction set level: this machine for x86, a board for Arm."""
    if isa in BOARDS:
        return resolve_target(BOARDS[isa])
    mcpu, mattr = GENERIC[isa]
    return Target("host", "x86", isa, llvm(isa, mcpu, mattr), FEATURES[isa], 2)


def llvm(isa: str, mcpu: str, mattr: tuple[str, ...]) -> dict[str, object]:
    """TVM's target of an x86 level."""
    return {"kind": "llvm", "mtriple": TRIPLES["x86"], "mcpu": mcpu, "mattr": list(mattr)}


def runs_here(isa: str) -> bool:
    """Whether this machine's CPU has an x86 level."""
    return local_arch() == "x86" and set(FEATURES[isa]) <= local_features()


def board_session(isa: str) -> Session:
    """A session on the emulated board of a level; skips the test where there is no board, except in CI."""
    if isa not in _absent:
        try:
            return connect("emulated", target_of(isa))
        except (DeviceError, OutputError) as e:
            if os.environ.get("CI"):
                raise
            _absent[isa] = str(e)
    pytest.skip(f"no emulated Arm board: {_absent[isa]}")
