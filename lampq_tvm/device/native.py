"""Counts one kernel's instructions on an emulated core: a small native program calls it, with neither Python nor TVM there.

The same kernel costs seconds through the board's device server and a tenth of a second here. A count is no time: whatever is
made from it is an estimate and must be called one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tvm
from tvm.tirx import PrimFunc

from lampq_tvm.device.board import find_board
from lampq_tvm.device.case_file import read_outputs, write_case
from lampq_tvm.device.classes import CLASSES, CYCLES, FRACTION, Block, Counted
from lampq_tvm.device.cost import core_of
from lampq_tvm.device.count import plugin_options
from lampq_tvm.device.counter import SLOTS_BYTES
from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.provision import Install, Say, once, provision, say_on_stderr
from lampq_tvm.device.rpc import played_board
from lampq_tvm.errors import DeviceError
from lampq_tvm.resources import PACKAGE
from lampq_tvm.store import digest
from lampq_tvm.targets import Target

TIMEOUT_S = 120


class KernelFailedError(DeviceError):
    """A kernel crashed, hung or refused its arguments.

    Attributes:
        outcome: `crash` or `hang`; why: in a few words.
    """

    def __init__(self, outcome: str, why: str, *, where: str) -> None:
        super().__init__(f"the kernel failed ({why})", where=where)
        self.outcome, self.why = outcome, why


class NativeCore:
    """One core of a board, played by the emulator.

    Args:
        board: by name; its CPU decides which instructions exist, its core what they cost.

    Raises:
        DeviceError: the emulator, its counter or the cross compiler cannot be had.
    """

    def __init__(self, board: str, *, say: Say = say_on_stderr) -> None:
        self.board = find_board(board)
        install = provision(say)
        cpu = install.cpu(self.board.cpu.qemu)
        self._emulator = [*install.emulator, "-cpu", cpu, "-L", str(install.sysroot)]
        self.figures = core_of(self.board)
        self._plugin, self._program = plugin_options(install, self.figures), _program(install)

    def count(
        self,
        library: Path,
        arrays: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        *,
        name: str = "main",
        timeout_s: int = TIMEOUT_S,
        blocks: bool = False,
    ) -> Counted:
        """Call a kernel of a library once.

        Args:
            library: made by `link_kernels`.
            arrays: its inputs, in order.
            outputs: what it writes after them, by shape and dtype; the values do not matter.
            name: of the kernel.
            blocks: also return the blocks that it executed.

        Raises:
            KernelFailedError: it crashed, refused the arrays or ran longer than `timeout_s`.
        """
        with tempfile.TemporaryDirectory(prefix="lampq-native-") as temp:
            write_case(Path(temp) / "case", arrays, outputs)
            return self.count_case(library, Path(temp) / "case", outputs, name=name, timeout_s=timeout_s, blocks=blocks)

    def count_case(
        self,
        library: Path,
        case: Path,
        outputs: Sequence[np.ndarray],
        *,
        name: str = "main",
        timeout_s: int = TIMEOUT_S,
        blocks: bool = False,
    ) -> Counted:
        """Like `count`, with the arrays in a file made by `write_case`."""
        with tempfile.TemporaryDirectory(prefix="lampq-native-") as temp:
            output, counter, dump = (Path(temp) / name for name in ("output", "counter", "blocks"))
            counter.write_bytes(bytes(SLOTS_BYTES))
            plugged = f"{self._plugin},out={counter}" + (f",blocks={dump}" if blocks else "")
            program = [self._program, library, f"__tvm_ffi_{name}", case, output, counter, timeout_s]
            said = self._run([*self._emulator, "-plugin", plugged, *map(str, program)])
            address, *row = map(int, said.split())
            found = read_blocks(dump, address, library.stat().st_size) if blocks else ()
            cycles = None if self.figures is None else row[CYCLES] / FRACTION
            return Counted(read_outputs(output, outputs), tuple(row[: len(CLASSES)]), cycles, found)

    def _run(self, command: list[str]) -> str:
        """What the program says on its standard output."""
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True, errors="replace", check=False)
        code, words = done.returncode, " ".join(done.stderr.split())
        if code == -signal.SIGALRM:
            raise KernelFailedError("hang", f"no end in {command[-1]} s", where=self.board.name)
        if code != 0:
            reason = words or (signal.Signals(-code).name if code < 0 else f"exit {code}")
            raise KernelFailedError("crash", reason[-300:], where=self.board.name)
        return done.stdout


def count_kernel(
    func: PrimFunc, arrays: Sequence[np.ndarray], target: Target, *, core: NativeCore | None = None
) -> tuple[list[np.ndarray], int]:
    """Compile a kernel for an Arm board, run it once on the emulated core and count its instructions. For example:

        from lampq_tvm.device.native import count_kernel
        from lampq_tvm.targets import resolve_target
        (out,), instructions = count_kernel(func, [a, w, m, b, bounds], resolve_target("raspberry-pi-5"))

    The first call ever provisions the emulated board; later ones take about 0.3 s. One thread: a parallel loop runs as one
    task. The count is the same in every run. `count_classes` gives more.

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
    counted = count_classes(func, arrays, target, core=core)
    return list(counted.outputs), counted.instructions


def count_classes(
    func: PrimFunc, arrays: Sequence[np.ndarray], target: Target, *, core: NativeCore | None = None, blocks: bool = False
) -> Counted:
    """Like `count_kernel`, by instruction class, and with the executed blocks where `blocks` asks for them."""
    core = core or NativeCore(played_board(target))
    with tempfile.TemporaryDirectory(prefix="lampq-native-") as temp:
        library = link_kernels({"main": func}, target, Path(temp) / "kernel.so")
        return core.count(library, arrays, empty_outputs(func, len(arrays)), blocks=blocks)


def empty_outputs(func: PrimFunc, inputs: int) -> list[np.ndarray]:
    """Arrays of the shapes and dtypes of a function's arguments after its inputs."""
    return [np.zeros([int(e) for e in buffer.shape], str(buffer.dtype)) for buffer in list(func.params)[inputs:]]


def link_kernels(functions: Mapping[str, PrimFunc], target: Target, library: Path) -> Path:
    """Compile kernels by name into a library that needs no runtime; returns its path.

    Raises:
        DeviceError: it does not link.
        Exception: whatever TVM and LLVM raise where one does not compile.
    """
    module = tvm.IRModule({name: func.with_attr("global_symbol", name) for name, func in functions.items()})
    code = tvm.compile(module, target=tvm.target.Target(target.tvm))
    objects = library.with_suffix(".o")
    code.mod.write_to_file(str(objects), "o")
    # The linker alone: with the C compiler around it the same takes half a second.
    command = [sys.executable, "-m", "ziglang", "ld.lld", "-shared", "-o", str(library), str(objects)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    objects.unlink()
    if done.returncode != 0:
        raise DeviceError(f"the kernels do not link ({done.stderr.strip()[:200]})", where=target.name)
    return library


def read_blocks(dump: Path, address: int, size: int) -> tuple[Block, ...]:
    """Blocks of a dump (count.c) within `size` bytes of an address, the longest running ones first."""
    found: dict[tuple[str, ...], int] = {}
    for line in dump.read_text("utf-8").splitlines():
        executions, start, _, *instructions = line.split()
        if abs(int(start, 16) - address) < size:
            block = tuple(instructions)
            found[block] = found.get(block, 0) + int(executions)
    blocks = [_block(executions, instructions) for instructions, executions in found.items()]
    return tuple(sorted(blocks, key=lambda b: (-b.executions * len(b.words), b.words)))


def _block(executions: int, instructions: tuple[str, ...]) -> Block:
    words, indices = zip(*(i.split(":") for i in instructions), strict=True)
    classes = tuple(indices.count(str(i)) for i in range(len(CLASSES)))
    return Block(executions, tuple(int(word, 16) for word in words), classes)


def _program(install: Install) -> Path:
    """The calling program, compiled once for each version of its source."""
    source, classes = (PACKAGE / "device" / name for name in ("call.c", "classes.h"))
    folder = install.folder / f"call-{digest(source.read_bytes(), classes.read_bytes())[:12]}"
    with once(folder) as building:
        if building is not None:
            command = [cross_compiler("aarch64"), "-O2", "-rdynamic", "-o", str(building / "call"), str(source)]
            command += ["-Wl,--no-as-needed", "-lm", "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                raise DeviceError(f"the calling program does not compile ({done.stderr.strip()[:200]})", where="emulated board")
    return folder / "call"
