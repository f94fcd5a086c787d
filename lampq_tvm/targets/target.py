"""Targets: what a name given to `--target` compiles for, and which CPU features the result needs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.targets.board import Board, Gpu, find_board
from lampq_tvm.targets.machine import local_arch, local_features

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
# CUDA's compilers that can be had as wheels, by major: what compiles for a GPU depends on their version.
CUDA_COMPILERS = {11: (11, 8), 12: (12, 6), 13: (13, 0)}
OLDEST_CUDA = (11, 4)  # of a driver that the runtime speaks to
TRIPLES = {"x86": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
LEVELS = {"x86": ("vbmi", "vnni", "avx2"), "aarch64": ("i8mm", "dotprod", "neon")}
# What LLVM may use of a board's core beyond its ISA level: the artifact then needs them too.
RELIED = ("asimd", "asimddp", "asimdhp", "asimdrdm", "atomics", "i8mm")


@dataclass(frozen=True)
class Target:
    """What to compile for.

    Attributes:
        name: the name in its canonical spelling: `host`, `NAME:cpu`, `NAME@jp6`, `NAME@cuda12`.
        kind: `x86`, `aarch64` or `cuda`.
        isa: `vbmi`, `vnni`, `avx2`, `i8mm`, `dotprod` or `neon`, or a GPU's arch (`sm_87`): which kernels are used.
        tvm: the dict that `tvm.target.Target` takes.
        features: the /proc/cpuinfo names that the code needs.
        cores: cores of the board or of this machine; the GPU's multiprocessors.
        board: its file, None for the host.
        cuda_major: of the compiler whose cubins its driver loads; None without a GPU.
    """

    name: str
    kind: str
    isa: str
    tvm: dict[str, Any]
    features: tuple[str, ...]
    cores: int
    board: Board | None = None
    cuda_major: int | None = None

    @property
    def identity(self) -> list[Any]:
        """Everything that compiled code may depend on, for keys: this machine's cores stay out, a board's are in its file."""
        board = self.board and self.board.model_dump()
        return [self.name, self.kind, self.isa, self.tvm, self.features, self.cuda_major, board]


def resolve_target(text: str) -> Target:
    """Read `host`, `NAME`, `NAME:cpu`, `NAME@jp6`, `NAME@cuda12`.

    Raises:
        UnsupportedError: an unknown board, JetPack level or CUDA version, a GPU that cannot run integer kernels, or a host
            without AVX2 and FMA.
    """
    match = re.fullmatch(r"([^:@]+)(?::(cpu))?(?:@((?:jp|cuda)\d+))?", text.strip())
    if match is None:
        raise UnsupportedError(f"not a target: {text!r}", hint="write host, NAME, NAME:cpu, NAME@jp6 or NAME@cuda12")
    name, cpu, level = match.groups()
    if name == "host" and level is None:
        return _host()
    board = find_board(name)
    versions = cuda_levels(board)
    if level is not None and level not in versions:
        kind = "CUDA version" if level.startswith("cuda") else "JetPack level"
        hint = f"its levels: {', '.join(versions) or 'none'}"
        raise UnsupportedError(f"it has no {kind} {level}", where=name, hint=hint)
    if board.gpu is not None and cpu is None:
        return _gpu(board, board.gpu, level or list(versions)[-1], versions)
    core = board.arm
    tvm = {
        "kind": "llvm",
        "mtriple": TRIPLES["aarch64"],
        "mcpu": core.mcpu,
        "mattr": list(core.mattr),
        "num-cores": core.cores,
    }
    needs = tuple(f for f in RELIED if f in core.features)
    isa = _level("aarch64", core.features)
    return Target(name if board.gpu is None else f"{name}:cpu", "aarch64", isa, tvm, needs, core.cores, board)


def cuda_levels(board: Board) -> dict[str, tuple[int, int]]:
    """CUDA's version by JetPack level, or, for a card, by each compiler that knows it; oldest first."""
    gpu = board.gpu
    if gpu is None:
        return {}
    if gpu.jetpack:
        return {level: _version(text) for level, text in gpu.jetpack.items()}
    return {f"cuda{major}": version for major, version in CUDA_COMPILERS.items() if _knows(gpu, version)}


def _knows(gpu: Gpu, version: tuple[int, int]) -> bool:
    """Whether a compiler of this version makes code for a GPU."""
    return _version(gpu.cuda_from) <= version and (gpu.cuda_ceiling is None or version <= _version(gpu.cuda_ceiling))


def _gpu(board: Board, gpu: Gpu, level: str, versions: dict[str, tuple[int, int]]) -> Target:
    """The GPU of a board at a JetPack level, or of a card with a CUDA major."""
    where, hint = f"{board.name}@{level}", f"use {board.name}:cpu for its Arm cores"
    if not gpu.int8_matrix:
        raise UnsupportedError(f"its GPU ({gpu.arch}) has no int8 matrix unit", where=board.name, hint=hint)
    version = versions[level]
    if version < OLDEST_CUDA:
        what = f"CUDA {version[0]}.{version[1]} is older than 11.4, the oldest that is served"
        newer = [name for name, found in versions.items() if found >= OLDEST_CUDA]
        raise UnsupportedError(what, where=where, hint=f"use {board.name}@{newer[-1]}" if newer else hint)
    tvm = {"kind": "cuda", "arch": gpu.arch}
    return Target(where, "cuda", gpu.arch, tvm, (), gpu.sms, board, version[0])


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


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
