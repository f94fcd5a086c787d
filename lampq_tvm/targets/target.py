"""Targets: what a name given to `--target` compiles for, and which CPU features the result needs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.levels import CPU_ARCHES, OLDEST_CUDA, TOOLKITS, CpuLevel, best_level, levels_of
from lampq_tvm.targets.board import Board, Gpu, find_board
from lampq_tvm.targets.machine import local_arch, local_features


@dataclass(frozen=True)
class Target:
    """What to compile for.

    Attributes:
        name: the name in its canonical spelling: `host`, `NAME:cpu`, `NAME@jp6`, `NAME@cuda12`.
        kind: `x86`, `aarch64` or `cuda`.
        isa: a CPU level (`vnni`, `dotprod`, ...), or a GPU's arch (`sm_87`): which kernels are used.
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
    arch = CPU_ARCHES["aarch64"]
    level = best_level(arch, core.features) or levels_of(arch)[-1]
    tvm = {**level.tvm, "mcpu": core.mcpu, "mattr": list(core.mattr), "num-cores": core.cores}
    # LLVM may use whatever the core has beyond its level: the artifact then needs that too.
    relied = {feature for each in levels_of(arch) for feature in each.features}
    needs = tuple(sorted(relied & set(core.features)))
    return Target(name if board.gpu is None else f"{name}:cpu", arch.name, level.name, tvm, needs, core.cores, board)


def level_target(level: CpuLevel) -> Target:
    """This machine limited to a level that it has, or of another architecture: any machine of that level."""
    return Target("host", level.arch.name, level.name, level.tvm, level.features, len(os.sched_getaffinity(0)))


def cuda_levels(board: Board) -> dict[str, tuple[int, int]]:
    """CUDA's version by JetPack level, or, for a card, by each compiler that knows it; oldest first."""
    gpu = board.gpu
    if gpu is None:
        return {}
    if gpu.jetpack:
        return {level: _version(text) for level, text in gpu.jetpack.items()}
    return {f"cuda{major}": kit.version for major, kit in TOOLKITS.items() if gpu.facts.compiles(kit.version)}


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
    arch, have = CPU_ARCHES[local_arch()], local_features()
    level = best_level(arch, have)
    if level is None:
        missing = " ".join(levels_of(arch)[-1].missing(have))
        raise UnsupportedError(f"this CPU lacks {missing}", where="host", hint="compile for a board of targets/ instead")
    return level_target(level)
