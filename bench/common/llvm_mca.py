"""LLVM's scheduling models as a second opinion on a block's cycles; the tool is a Debian package, unpacked into the cache."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lampq_tvm.device.apt import unpack_packages
from lampq_tvm.device.classes import Block
from lampq_tvm.device.provision import host_arch, once
from lampq_tvm.errors import DeviceError
from lampq_tvm.store import cache_dir

VERSION = "19"
ITERATIONS = 100
SMALL = 1 / 2000  # of a kernel's instructions: blocks that make fewer are left out
# Each core's model: LLVM 19 has none of its own for the last two.
MODELS = {
    "cortex-a72": "cortex-a72",
    "cortex-a76": "neoverse-n1",
    "cortex-a78ae": "neoverse-n1",
    "neoverse-v3ae": "neoverse-v2",
}
# Calls and returns are priced as the branches that they are; the tool would take 100 cycles for what they call.
CALLS = ("bl", "blr", "br", "ret", "svc")


def folder() -> Path:
    """Where the tools lie, downloaded on first use (75 MB).

    Raises:
        DeviceError: they cannot be had.
    """
    path = cache_dir().absolute() / f"llvm-{VERSION}"
    with once(path) as building:
        if building is not None:
            unpack_packages([f"llvm-{VERSION}"], host_arch(), building)
    return path


def disassemble(words: Sequence[int]) -> list[str]:
    """One line of assembly for each word."""
    text = "\n".join(" ".join(f"0x{byte:02x}" for byte in word.to_bytes(4, "little")) for word in words)
    lines = [line.strip() for line in _run("llvm-mc", ["-disassemble", "-triple=aarch64", "-mattr=+all"], text).splitlines()]
    lines = [line for line in lines if line and not line.startswith(".")]
    if len(lines) != len(words):
        raise DeviceError(f"{len(words) - len(lines)} instructions are unknown", where="llvm-mc")
    return ["b #0" if line.split()[0] in CALLS else line for line in lines]


def cycles(blocks: Sequence[Block], model: str) -> list[float]:
    """Cycles of one execution of each block, as part of a long row of executions."""
    lines, source = iter(disassemble([word for block in blocks for word in block.words])), []
    for i, block in enumerate(blocks):
        source += [f"# LLVM-MCA-BEGIN {i}", *(next(lines) for _ in block.words), "# LLVM-MCA-END"]
    options = ["-mtriple=aarch64", f"-mcpu={model}", "-mattr=+all", "-json", f"-iterations={ITERATIONS}"]
    regions = json.loads(_run("llvm-mca", options, "\n".join(source)))["CodeRegions"]
    return [region["SummaryView"]["TotalCycles"] / ITERATIONS for region in regions]


def _run(tool: str, options: list[str], text: str) -> str:
    root = folder()
    libraries = sorted({str(path.parent) for path in root.glob("usr/lib/**/lib*.so*")})
    env = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
    command = [str(root / f"usr/lib/llvm-{VERSION}/bin/{tool}"), *options]
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
        raise DeviceError(f"it fails ({reason.strip()})", where=tool)
    return done.stdout
