"""Targets: what a name given to `--target` compiles for, and which CPU features the result needs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from lampq_tvm.device.board import Board, boards, find_board
from lampq_tvm.device.machine import check_runs_here, local_arch, local_features
from lampq_tvm.errors import UnsupportedError

__all__ = ["Board", "Target", "boards", "check_runs_here", "find_board", "local_arch", "local_features", "resolve_target"]

# /proc/cpuinfo names that code of each ISA level may rely on; an artifact needs these and never a CPU's name.
AVX2 = ("abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
FEATURES = {
    "avx2": AVX2,
    "vnni": (*AVX2, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "avx512_vnni"),
    "vbmi": (*AVX2, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "avx512_vnni", "avx512vbmi"),
    "neon": ("asimd",),
    "dotprod": ("asimd", "asimddp", "asimdhp", "asimdrdm", "atomics"),
    "i8mm": ("asimd", "asimddp", "asimdhp", "asimdrdm", "atomics", "i8mm"),
}
# LLVM's generic CPUs, so that code never takes instructions from a CPU's name. x86-64-v4 is AVX-512 F, BW, CD, DQ, VL.
GENERIC = {
    "avx2": ("x86-64-v3", ()),
    "vnni": ("x86-64-v4", ("+avx512vnni",)),
    "vbmi": ("x86-64-v4", ("+avx512vnni", "+avx512vbmi")),
    "neon": ("generic", ("+neon",)),
    "dotprod": ("generic", ("+v8.1a", "+neon", "+dotprod", "+fullfp16")),
    "i8mm": ("generic", ("+v8.1a", "+neon", "+dotprod", "+fullfp16", "+i8mm")),
}
TRIPLES = {"x86": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
LEVELS = {"x86": ("vbmi", "vnni", "avx2"), "aarch64": ("i8mm", "dotprod", "neon")}
# What LLVM may use of a board's core beyond its ISA level: the artifact then needs them too.
RELIED = ("asimd", "asimddp", "asimdhp", "asimdrdm", "atomics", "i8mm")


@dataclass(frozen=True)
class Target:
    """What to compile for.

    Attributes:
        name: the name in its canonical spelling.
        kind: `x86`, `aarch64` (later `cuda`).
        isa: `vbmi`, `vnni`, `avx2`, `i8mm`, `dotprod` or `neon`: which kernels are used.
        tvm: the dict that `tvm.target.Target` takes.
        features: the /proc/cpuinfo names that the code needs.
        cores: cores of the board or of this machine.
        board: its file, None for the host.
    """

    name: str
    kind: str
    isa: str
    tvm: dict[str, Any]
    features: tuple[str, ...]
    cores: int
    board: Board | None = None


def resolve_target(text: str) -> Target:
    """Read `host`, `NAME`, `NAME:cpu`, `NAME@jp6`.

    Raises:
        UnsupportedError: an unknown board or JetPack level, a GPU, or a host without AVX2 and FMA.
    """
    match = re.fullmatch(r"([^:@]+)(?::(cpu))?(?:@(jp\d+))?", text.strip())
    if match is None:
        raise UnsupportedError(f"not a target: {text!r}", hint="write host, NAME, NAME:cpu or NAME@jp6")
    name, cpu, level = match.groups()
    if name == "host":
        return _host()
    board = find_board(name)
    if level is not None and (board.gpu is None or level not in board.gpu.jetpack):
        levels = ", ".join(board.gpu.jetpack) if board.gpu else "none"
        raise UnsupportedError(f"it has no JetPack level {level}", where=name, hint=f"its levels: {levels}")
    if board.gpu is not None and cpu is None:
        raise UnsupportedError("CUDA targets are not there yet", where=text, hint=f"use {name}:cpu for its Arm cores")
    isa = _level("aarch64", board.cpu.features)
    needs = tuple(f for f in RELIED if f in board.cpu.features)
    tvm = {
        "kind": "llvm",
        "mtriple": TRIPLES["aarch64"],
        "mcpu": board.cpu.mcpu,
        "mattr": list(board.cpu.mattr),
        "num-cores": board.cpu.cores,
    }
    return Target(name if board.gpu is None else f"{name}:cpu", "aarch64", isa, tvm, needs, board.cpu.cores, board)


def _host() -> Target:
    kind, have = local_arch(), local_features()
    if kind == "x86" and not set(FEATURES["avx2"]) <= have:
        missing = " ".join(sorted(set(FEATURES["avx2"]) - have))
        raise UnsupportedError(f"this CPU lacks {missing}", where="host", hint="compile for a board of targets/ instead")
    isa = _level(kind, have)
    mcpu, mattr = GENERIC[isa]
    tvm = {"kind": "llvm", "mtriple": TRIPLES[kind], "mcpu": mcpu, "mattr": list(mattr)}
    return Target("host", kind, isa, tvm, FEATURES[isa], len(os.sched_getaffinity(0)))


def _level(kind: str, have: frozenset[str] | tuple[str, ...]) -> str:
    return next((level for level in LEVELS[kind] if set(FEATURES[level]) <= set(have)), LEVELS[kind][-1])
