"""What a cubin holds: its native instructions and the resources that it takes, by NVIDIA's tools.

`nvdisasm` and `cuobjdump` lie in the `triton` wheel that comes with torch, or on PATH; neither needs a GPU. Today's nvdisasm
no longer reads sm_72 and older; `usage` does.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.memfile import memory_file, path_of

LINE = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;", flags=re.MULTILINE)
ROW = re.compile(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


@dataclass(frozen=True)
class Instruction:
    """A native instruction: `IMMA.16864.S4.S4.SAT`, its operands as text, and its predicate (`!P0`) or an empty text."""

    opcode: str
    operands: str
    predicate: str


@dataclass(frozen=True)
class Usage:
    """What a kernel takes: registers a thread, stack and local memory a thread, static shared memory a block."""

    registers: int
    stack_bytes: int
    shared_bytes: int
    local_bytes: int

    @property
    def spills(self) -> bool:
        """Whether a thread keeps anything in memory of its own: spilled registers, or arrays whose indices stayed variable."""
        return self.stack_bytes > 0 or self.local_bytes > 0


def sass(cubin: bytes) -> list[Instruction]:
    """The instructions of every kernel in a binary, in order.

    Raises:
        UnsupportedError: the disassembler is not installed, or does not know the architecture.
    """
    return [Instruction(opcode, operands, predicate) for predicate, opcode, operands in LINE.findall(listing(cubin))]


def listing(cubin: bytes) -> str:
    """A binary's disassembly as text; raises what `sass` raises."""
    return _run("nvdisasm", cubin, "-c")


def usage(cubin: bytes) -> dict[str, Usage]:
    """What each kernel of a binary takes, by entry.

    Raises:
        UnsupportedError: the tool is not installed, or does not know the architecture.
    """
    text = _run("cuobjdump", cubin, "-res-usage")
    return {name: Usage(*map(int, counts)) for name, *counts in ROW.findall(text)}


@functools.cache
def tool(name: str) -> Path | None:
    """Where `nvdisasm` or `cuobjdump` is; None where it is not installed."""
    spec = importlib.util.find_spec("triton")
    folders = [Path(f) / "backends" / "nvidia" / "bin" for f in (spec.submodule_search_locations or ())] if spec else []
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    on_path = shutil.which(name)
    return found or (Path(on_path) if on_path else None)


def _run(name: str, cubin: bytes, option: str) -> str:
    path = tool(name)
    if path is None:
        raise UnsupportedError(f"{name} is not installed", hint="install triton (it comes with torch) or the CUDA toolkit")
    with memory_file(cubin) as handle:
        done = subprocess.run([path, option, path_of(handle)], capture_output=True, text=True, pass_fds=(handle,))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise UnsupportedError(f"{name} does not read this binary ({reason})", hint="use an older CUDA toolkit's")
    return done.stdout
