"""Judges candidates for an Arm board that is not at hand: an emulated core calls them, their instructions are counted by class.

Costs are cycles that the core's figures give (device/cost.py), or instructions where there are no figures: estimates both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tvm.tirx import PrimFunc

from lampq_tvm.device.case_file import write_case
from lampq_tvm.device.emulate import played_board
from lampq_tvm.device.kind import Device
from lampq_tvm.device.native import link_kernels
from lampq_tvm.device.native_core import KernelFailedError, NativeCore
from lampq_tvm.records.cpu import Judged
from lampq_tvm.targets import Target
from lampq_tvm.tune.bench import JOB_S, Measuring
from lampq_tvm.tune.case import Case


class Counting(Measuring):
    """Builds and counts candidates: one short process of the emulator each, so a crash or a hang costs one candidate.

    Args:
        target: an Arm board's.
        device: what plays it.

    Raises:
        DeviceError: the emulator cannot be had.
        UnsupportedError: the target is no Arm board.
    """

    def __init__(self, target: Target, device: Device) -> None:
        super().__init__(target, device)
        self._core = NativeCore(played_board(target))
        self._expected: dict[Path, np.ndarray] = {}

    @property
    def judged(self) -> Judged:
        """How candidates are judged."""
        figures = self._core.figures
        return Judged(
            device=f"{self.device.name} {self._core.board.arm.qemu}",
            target=self.target.name,
            core=None if figures is None else figures.name,
            figures=None if figures is None else figures.digest,
        )

    def write_case(self, case: Case) -> Path:
        """Store a kernel's case where the emulated core finds it."""
        path = Path(self._folder.name) / "case"
        write_case(path, case.arguments, [case.expected])
        self._expected = {path: case.expected}
        return path

    def judge(self, case: Path, libraries: Sequence[Path], rounds: int, limit_s: int = JOB_S) -> dict[str, Any]:
        """Outcome of libraries; counts are the same every time, so each runs once whatever `rounds` says."""
        expected = self._expected[case]
        try:
            found = [self._core.count_case(library, case, [expected], timeout_s=limit_s) for library in libraries]
        except KernelFailedError as e:
            return {"outcome": e.outcome, "why": e.why}
        differ = [int((counted.outputs[0].view(np.uint8) != expected.view(np.uint8)).sum()) for counted in found]
        if any(differ):
            return {"outcome": "wrong", "differ": differ}
        instructions = [counted.instructions for counted in found]
        cycles = [None if counted.cycles is None else round(counted.cycles, 3) for counted in found]
        unit, costs = ("instructions", instructions) if None in cycles else ("cycles", cycles)
        return {"outcome": "exact", "samples": [[cost] for cost in costs], "unit": unit, "instructions": instructions}

    def _link(self, function: PrimFunc, path: Path) -> Path:
        return link_kernels({"main": function}, self.target, path)
