"""Instruction counts on the emulated board: the same in every run, whatever else the machine does.

A count is no time: whatever is made from it is an estimate and must be called one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lampq_tvm.device.cost import Core, core_of
from lampq_tvm.device.counter import VARIABLE, read_counter
from lampq_tvm.device.emulate import EmulatedBoard, played_board
from lampq_tvm.device.provision import Install, Say, once, say_on_stderr
from lampq_tvm.device.rpc import Session, open_session
from lampq_tvm.errors import DeviceError
from lampq_tvm.resources import PACKAGE
from lampq_tvm.scratch import scratch
from lampq_tvm.store import digest
from lampq_tvm.targets import Target

# The emulator refuses a plugin whose interface number it does not know, so the first one that it takes is used.
INTERFACES = range(1, 8)


def counting_environment(board: EmulatedBoard, counter: Path) -> dict[str, str]:
    """Variables that make the board count into the file `counter`; one thread, since waiting threads count too.

    Raises:
        DeviceError: no C compiler is there, or the emulator takes no plugins.
    """
    options = plugin_options(board.install, core_of(board.board))
    return {"LAMPQ_PLUGIN": options, VARIABLE: str(counter), "TVM_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def count_run(board: EmulatedBoard, args: Sequence[str], *, timeout_s: float = 1800) -> int:
    """Instructions of one whole run of the board's Python.

    Raises:
        DeviceError: the program failed or took longer.
    """
    with scratch("count") as folder:
        counter = Path(folder) / "instructions"
        done = board.run_python(args, env=counting_environment(board, counter), timeout_s=timeout_s)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DeviceError(f"the counted program failed ({reason})", where=board.name)
        return read_counter(str(counter))


def count_instructions(
    board: EmulatedBoard, args: Callable[[int], Sequence[str]], *, n: int = 1, timeout_s: float = 1800
) -> int:
    """Instructions of one more repetition: a run of n + 1 of them minus a run of n, so start and loading cancel out.

    Args:
        args: the program's arguments for a number of repetitions, such as
            `lambda n: ["-m", "lampq_tvm", "run", "a.lampq", "--input", "x.npy", "--output", "y.npy", "--repeat", str(n)]`.

    Raises:
        DeviceError: the program failed or took longer.
    """
    return count_run(board, args(n + 1), timeout_s=timeout_s) - count_run(board, args(n), timeout_s=timeout_s)


@contextmanager
def counting_session(target: Target, *, say: Say = say_on_stderr) -> Iterator[Session]:
    """A session on an emulated board of the target's kind that counts: `session.count(module, function, *tensors)`.

    Raises:
        DeviceError: it cannot be started, or cannot count.
    """
    with scratch("count") as folder:
        board = EmulatedBoard(played_board(target), say=say)
        board.start(env=counting_environment(board, Path(folder) / "instructions"))
        try:
            assert board.port is not None
            with open_session(board.address, "127.0.0.1", board.port, target, key=board.key) as session:
                yield session
        finally:
            board.stop()


def plugin_options(install: Install, core: Core | None) -> str:
    """The emulator's `-plugin` argument without the counter's file; with a core it estimates cycles too.

    Raises:
        DeviceError: no C compiler is there, or the emulator takes no plugins.
    """
    if core is None:
        return str(plugin(install))
    folder = install.folder / f"core-{core.name}-{core.digest}"
    with once(folder) as building:
        if building is not None:
            rows = [[len(core.units)], *core.pressure.tolist()]
            (building / "pressure").write_text("\n".join(" ".join(map(repr, row)) for row in rows), "utf-8")
    return f"{plugin(install)},core={folder / 'pressure'}"


def plugin(install: Install) -> Path:
    """The counting plugin, compiled once for each version of its source.

    Raises:
        DeviceError: no C compiler is there, or the emulator takes no plugins.
    """
    sources = [(PACKAGE / "device" / name).read_bytes() for name in ("count.c", "classes.h")]
    folder = install.folder / f"plugin-{digest(*sources)[:12]}"
    with once(folder) as building:
        if building is not None:
            _compile(install, building / "count.so")
    return folder / "count.so"


def _compile(install: Install, out: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    command = [compiler] if compiler else [sys.executable, "-m", "ziglang", "cc"]
    if not compiler and importlib.util.find_spec("ziglang") is None:
        raise DeviceError("no C compiler for the counter", where="emulated board", hint="pip install 'lampq-tvm[compile]'")
    source = str(PACKAGE / "device" / "count.c")
    reason = ""
    for interface in INTERFACES:
        options = ["-shared", "-fPIC", "-O2", "-fno-math-errno", f"-DPLUGIN_VERSION={interface}", "-o", str(out), source]
        done = subprocess.run([*command, *options], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise DeviceError(f"the counter does not compile ({done.stderr.strip()[:200]})", where="emulated board")
        with scratch("plugin") as folder:
            counter = Path(folder) / "counter"
            counter.touch()
            program = [*install.emulator, "-plugin", f"{out},out={counter}", "-L", str(install.sysroot)]
            program.append(str(install.sysroot / f"usr/bin/python{install.python}"))
            env = {**os.environ, "PYTHONNOUSERSITE": "1"}
            tried = subprocess.run([*program, "-S", "-c", "pass"], capture_output=True, text=True, env=env, check=False)
            if tried.returncode == 0 and read_counter(str(counter)) > 0:
                return
            reason = (tried.stderr.strip().splitlines() or ["it counts nothing"])[0]
    raise DeviceError(f"this emulator takes no plugins ({reason})", where="emulated board", hint="counts need QEMU 7 or newer")
