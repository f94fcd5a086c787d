"""The targets that tests compile for, and the emulated boards that play the Arm ones."""

from __future__ import annotations

import dataclasses
import os

import pytest

from lampq_tvm.device.kinds import connect
from lampq_tvm.device.rpc import Session
from lampq_tvm.errors import DeviceError, OutputError
from lampq_tvm.levels import CPU_ARCHES, CPU_LEVELS, levels_of
from lampq_tvm.targets import Target, boards, level_target, resolve_target
from lampq_tvm.targets.machine import local_arch, local_features

ISAS = tuple(level.name for arch in CPU_ARCHES.values() for level in levels_of(arch))
BOARDS = {"i8mm": "jetson-agx-thor:cpu", "dotprod": "raspberry-pi-5", "neon": "raspberry-pi-4"}
for _name in (f"{name}:cpu" for name, board in boards().items() if board.cpu is not None):
    BOARDS.setdefault(resolve_target(_name).isa, _name)  # a level that is new takes the first board that has it
_absent: dict[str, str] = {}


def target_of(isa: str) -> Target:
    """The target of an instruction set level: this machine for x86, a board for Arm."""
    if isa in BOARDS:
        return resolve_target(BOARDS[isa])
    return dataclasses.replace(level_target(CPU_LEVELS[isa]), cores=2)


def runs_here(isa: str) -> bool:
    """Whether this machine's CPU has a level."""
    level = CPU_LEVELS[isa]
    return local_arch() == level.arch.name and not level.missing(local_features())


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
