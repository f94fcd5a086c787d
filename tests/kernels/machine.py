"""Compiles many kernels at once and runs them, on this machine or on the emulated Arm board."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.tirx import PrimFunc

from lampq_tvm.device.rpc import Session
from tests import kept
from tests.boards import target_of


@dataclass(frozen=True)
class Case:
    """One kernel call and what it must give.

    Attributes:
        name: says in a failure what was called with which data.
        kernel: cases of equal `kernel` share one compiled function.
        build: makes the kernel.
        args: the arguments, without the output.
        expected: the output.
        over: number of the argument that the output may be written over; the kernel is then called both ways.
    """

    name: str
    kernel: str
    build: Callable[[], PrimFunc]
    args: tuple[np.ndarray, ...]
    expected: np.ndarray
    over: int | None = None


class Machine:
    """Kernels of one instruction set level; `session` is None where they run in this process."""

    def __init__(self, isa: str, session: Session | None) -> None:
        self.isa, self.session = isa, session
        self.target = target_of(isa)
        self._kernels: dict[str, Any] = {}
        self._numbers = itertools.count()

    def check(self, cases: Iterable[Case]) -> None:
        """Run the cases; AssertionError that names the first one whose output is not equal, and the first place."""
        cases = list(cases)
        in_place = [case for case in cases if case.over is not None]
        found = [*self.outputs(cases), *(self._run(case, in_place=True) for case in in_place)]
        for case, out in zip([*cases, *in_place], found, strict=True):
            wrong = ~((out == case.expected) | (np.isnan(out) & np.isnan(case.expected)))
            if out.dtype != case.expected.dtype or wrong.any():
                at = tuple(int(i) for i in np.argwhere(wrong)[0])
                what = f"{wrong.sum()} of {wrong.size} values differ, first at {at}: {out[at]} for {case.expected[at]}"
                raise AssertionError(f"{self.isa}: {case.name} ({case.kernel}): {what}")

    def outputs(self, cases: list[Case]) -> list[np.ndarray]:
        """What the cases' kernels give."""
        self._compile({case.kernel: case.build for case in cases})
        return [self._run(case) for case in cases]

    def _run(self, case: Case, in_place: bool = False) -> np.ndarray:
        """The kernel's output, over an output buffer filled with 0x55, or in place of an argument."""
        kernel = self._kernels[case.kernel]
        filler = np.full(case.expected.nbytes, 0x55, np.uint8).view(case.expected.dtype).reshape(case.expected.shape)
        tensors = [self._tensor(np.ascontiguousarray(a)) for a in (*case.args, filler)]
        if in_place and case.over is not None:
            tensors[-1] = tensors[case.over]
        kernel(*tensors)
        return tensors[-1].numpy()

    def _tensor(self, array: np.ndarray) -> Any:
        return tvm.runtime.tensor(array) if self.session is None else self.session.array(array)

    def _compile(self, builders: dict[str, Callable[[], PrimFunc]]) -> None:
        """All of them together, whatever was compiled before: so the library is the same in every run, and kept."""
        if all(kernel in self._kernels for kernel in builders):
            return
        names = {kernel: f"kernel{i}" for i, kernel in enumerate(builders)}
        module = tvm.IRModule({n: builders[k]().with_attr("global_symbol", n) for k, n in names.items()})
        library = self._load(kept.kernels_library(module, self.target))
        self._kernels |= {kernel: library[name] for kernel, name in names.items()}

    def _load(self, library: bytes) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"kernels{next(self._numbers)}.so"  # a name of its own: the loader knows them by it
            path.write_bytes(library)
            return tvm.runtime.load_module(str(path)) if self.session is None else self.session.load(path)


def assembly(kernel: PrimFunc, isa: str) -> str:
    """The assembly of one kernel."""
    return kept.assembly(tvm.IRModule({"kernel": kernel.with_attr("global_symbol", "kernel")}), target_of(isa))
