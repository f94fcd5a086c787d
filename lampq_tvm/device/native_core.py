"""One core of a board, played by the emulator: a small native program calls kernels there, without Python or TVM."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lampq_tvm.device.case_file import read_outputs, write_case
from lampq_tvm.device.classes import CLASSES, CYCLES, FRACTION, ROW, Block, Counted
from lampq_tvm.device.cost import core_of
from lampq_tvm.device.count import plugin_options
from lampq_tvm.device.counter import SLOTS_BYTES
from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.provision import Install, Say, once, provision, say_on_stderr
from lampq_tvm.errors import DeviceError
from lampq_tvm.resources import PACKAGE
from lampq_tvm.scratch import scratch
from lampq_tvm.store import digest
from lampq_tvm.targets.board import find_board

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
        cpu = install.cpu(self.board.arm.qemu)
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
        threads: int = 0,
    ) -> Counted:
        """Call a kernel of a library once, on one thread.

        Args:
            library: made by `link_kernels`.
            arrays: its inputs, in order.
            outputs: what it writes after them, by shape and dtype; the values do not matter.
            name: of the kernel.
            blocks: also return the blocks that it executed.
            threads: where not 0, parallel loops are split into as many tasks, which run one after another and are also
                counted one by one; the call's own counts then include that counting.

        Raises:
            KernelFailedError: it crashed, refused the arrays or ran longer than `timeout_s`.
        """
        with scratch("native") as temp:
            write_case(Path(temp) / "case", arrays, outputs)
            case = Path(temp) / "case"
            return self.count_case(library, case, outputs, name=name, timeout_s=timeout_s, blocks=blocks, threads=threads)

    def count_case(
        self,
        library: Path,
        case: Path,
        outputs: Sequence[np.ndarray],
        *,
        name: str = "main",
        timeout_s: int = TIMEOUT_S,
        blocks: bool = False,
        threads: int = 0,
    ) -> Counted:
        """Like `count`, with the arrays in a file made by `write_case`."""
        with scratch("native") as temp:
            output, counter, dump = (Path(temp) / name for name in ("output", "counter", "blocks"))
            counter.write_bytes(bytes(SLOTS_BYTES))
            plugged = f"{self._plugin},out={counter}" + (f",blocks={dump}" if blocks else "")
            program = [self._program, library, f"__tvm_ffi_{name}", case, output, counter, timeout_s, threads]
            said = self._run([*self._emulator, "-plugin", plugged, *map(str, program)])
            address, *row = map(int, said.split())
            found = read_blocks(dump, address, library.stat().st_size) if blocks else ()
            cycles = None if self.figures is None else row[CYCLES] / FRACTION
            tasks = tuple(tuple(row[i : i + threads]) for i in range(ROW, len(row), threads or 1))
            return Counted(read_outputs(output, outputs), tuple(row[: len(CLASSES)]), cycles, found, tasks)

    def _run(self, command: list[str]) -> str:
        """What the program says on its standard output."""
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True, errors="replace", check=False)
        code, words = done.returncode, " ".join(done.stderr.split())
        if code == -signal.SIGALRM:
            raise KernelFailedError("hang", f"no end in {command[-2]} s", where=self.board.name)
        if code != 0:
            reason = words or (signal.Signals(-code).name if code < 0 else f"exit {code}")
            raise KernelFailedError("crash", reason[-300:], where=self.board.name)
        return done.stdout


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
