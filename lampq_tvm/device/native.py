"""Counts one kernel's instructions on an emulated core: a small native program calls it, with neither Python nor TVM there.

The same kernel costs seconds through the board's device server and a tenth of a second here. A count is no time: whatever is
made from it is an estimate and must be called one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm.tirx import PrimFunc

from lampq_tvm.device.board import Board, find_board
from lampq_tvm.device.count import plugin
from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.provision import Install, Say, once, provision, say_on_stderr
from lampq_tvm.device.rpc import played_board
from lampq_tvm.errors import DeviceError
from lampq_tvm.resources import PACKAGE
from lampq_tvm.store import digest
from lampq_tvm.targets import Target

TIMEOUT_S = 120
HEADER_WORDS, ARRAY_WORDS, DIMENSIONS = 2, 12, 6  # of a case file, as in call.c
ALIGNMENT = 64
FILLER = 77  # of outputs before the call: what a kernel leaves out shows
TYPE_CODES = {"i": 0, "u": 1, "f": 2}  # DLPack's
COUNTER_BYTES = 4096 * 8


@dataclass(frozen=True)
class Counted:
    """What one call gave: the outputs, and the instructions of one call by class."""

    outputs: tuple[np.ndarray, ...]
    classes: tuple[int, ...]

    @property
    def instructions(self) -> int:
        """Of all classes."""
        return sum(self.classes)


class KernelFailedError(DeviceError):
    """A kernel crashed, hung or refused its arguments.

    Attributes:
        outcome: `crash` or `hang`.
    """

    def __init__(self, outcome: str, why: str, *, where: str) -> None:
        super().__init__(f"the kernel failed ({why})", where=where)
        self.outcome = outcome


class NativeCore:
    """One core of a board, played by the emulator.

    Args:
        board: by name; its CPU decides which instructions exist.

    Raises:
        DeviceError: the emulator, its counter or the cross compiler cannot be had.
    """

    def __init__(self, board: str, *, say: Say = say_on_stderr) -> None:
        self.board: Board = find_board(board)
        self.install: Install = provision(say)
        cpu = self.board.cpu.qemu if self.board.cpu.qemu in self.install.cpus else "max"
        self._emulator = [*self.install.emulator, "-cpu", cpu, "-L", str(self.install.sysroot)]
        self._plugin, self._program = plugin(self.install), _program(self.install)

    def count(
        self, library: Path, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray], timeout_s: float = TIMEOUT_S
    ) -> Counted:
        """Call a library's kernel `main` once.

        Args:
            library: made by `link_kernel`.
            arrays: its inputs, in order.
            outputs: what it writes after them, by shape and dtype; the values do not matter.

        Raises:
            KernelFailedError: it crashed, refused the arrays or ran longer than `timeout_s`.
        """
        with tempfile.TemporaryDirectory(prefix="lampq-native-") as temp:
            folder = Path(temp)
            write_case(folder / "case", arrays, outputs)
            return self.count_case(library, folder / "case", outputs, timeout_s)

    def count_case(self, library: Path, case: Path, outputs: Sequence[np.ndarray], timeout_s: float = TIMEOUT_S) -> Counted:
        """Like `count`, with the arrays in a file made by `write_case`."""
        with tempfile.TemporaryDirectory(prefix="lampq-native-") as temp:
            result, counter = Path(temp) / "output", Path(temp) / "counter"
            counter.write_bytes(bytes(COUNTER_BYTES))
            command = [*self._emulator, "-plugin", f"{self._plugin},out={counter}", str(self._program)]
            command += [str(library), str(case), str(result), str(counter)]
            try:
                done = subprocess.run(
                    command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False, cwd=temp
                )
            except subprocess.TimeoutExpired as e:
                raise KernelFailedError("hang", f"no end in {timeout_s:g} s", where=self.board.name) from e
            if done.returncode != 0:
                words = " ".join(done.stderr.decode(errors="replace").split())
                code = done.returncode
                reason = words or (signal.Signals(-code).name if code < 0 else f"exit {code}")
                raise KernelFailedError("crash", reason[-300:], where=self.board.name)
            return Counted(_read_outputs(result.read_bytes(), outputs), tuple(map(int, done.stdout.split())))


def count_kernel(
    func: PrimFunc, arrays: Sequence[np.ndarray], target: Target, *, core: NativeCore | None = None
) -> tuple[list[np.ndarray], int]:
    """Compile a kernel for an Arm board, run it once on the emulated core and count its instructions. For example:

        from lampq_tvm.device.native import count_kernel
        from lampq_tvm.targets import resolve_target
        (out,), instructions = count_kernel(func, [a, w, m, b, bounds], resolve_target("raspberry-pi-5"))

    The first call ever provisions the emulated board; later ones take about 0.3 s. One thread: a parallel loop runs as one
    task. The count is the same in every run.

    Args:
        func: of buffer arguments, inputs first and outputs last.
        arrays: the inputs, of the buffers' shapes and dtypes.
        target: an Arm board, which also chooses the emulated CPU.
        core: a core to use again, `NativeCore(board)`; saves milliseconds.

    Returns:
        (the outputs in their order, instructions of one call).

    Raises:
        DeviceError: the emulator cannot be had, or the kernel crashed, hung or refused the arrays.
    """
    core = core or NativeCore(played_board(target))
    with tempfile.TemporaryDirectory(prefix="lampq-native-") as temp:
        library = link_kernel(func, target, Path(temp) / "kernel.so")
        counted = core.count(library, arrays, empty_outputs(func, len(arrays)))
    return list(counted.outputs), counted.instructions


def empty_outputs(func: PrimFunc, inputs: int) -> list[np.ndarray]:
    """Arrays of the shapes and dtypes of a function's arguments after its inputs."""
    return [np.zeros([int(e) for e in buffer.shape], str(buffer.dtype)) for buffer in list(func.params)[inputs:]]


def link_kernel(func: PrimFunc, target: Target, library: Path) -> Path:
    """Compile a kernel into a library that needs no runtime; returns its path.

    Raises:
        DeviceError: it does not link.
        Exception: whatever TVM and LLVM raise where it does not compile.
    """
    module = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    code = tvm.compile(module, target=tvm.target.Target(target.tvm))
    objects = library.with_suffix(".o")
    code.mod.write_to_file(str(objects), "o")
    # The linker alone: with the C compiler around it the same takes half a second.
    command = [sys.executable, "-m", "ziglang", "ld.lld", "-shared", "-o", str(library), str(objects)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    objects.unlink()
    if done.returncode != 0:
        raise DeviceError(f"the kernel does not link ({done.stderr.strip()[:200]})", where=target.name)
    return library


def write_case(path: Path, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
    """Store the arguments of a kernel for call.c, outputs filled with `FILLER` bytes."""
    every = [np.ascontiguousarray(a) for a in (*arrays, *outputs)]
    header = np.zeros((len(every), ARRAY_WORDS), np.int64)
    offset = 8 * (HEADER_WORDS + header.size)
    for row, array in zip(header, every, strict=True):
        offset = -(-offset // ALIGNMENT) * ALIGNMENT
        row[:5] = TYPE_CODES[array.dtype.kind], 8 * array.itemsize, array.ndim, offset, array.nbytes
        row[5 : 5 + array.ndim] = array.shape
        offset += array.nbytes
    with path.open("wb") as file:
        file.write(np.array([len(every), len(arrays)], np.int64).tobytes() + header.tobytes())
        for i, (row, array) in enumerate(zip(header, every, strict=True)):
            file.seek(int(row[3]))
            file.write(array.tobytes() if i < len(arrays) else bytes([FILLER]) * array.nbytes)


def _read_outputs(data: bytes, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    arrays, offset = [], 0
    for output in outputs:
        arrays.append(np.frombuffer(data, output.dtype, output.size, offset).reshape(output.shape).copy())
        offset += output.nbytes
    return tuple(arrays)


def _program(install: Install) -> Path:
    """The calling program, compiled once for each version of its source."""
    source = PACKAGE / "device" / "call.c"
    folder = install.folder / f"call-{digest(source.read_bytes())[:12]}"
    with once(folder) as building:
        if building is not None:
            command = [cross_compiler("aarch64"), "-O2", "-rdynamic", "-o", str(building / "call"), str(source)]
            command += ["-Wl,--no-as-needed", "-lm", "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                raise DeviceError(f"the calling program does not compile ({done.stderr.strip()[:200]})", where="emulated board")
    return folder / "call"
