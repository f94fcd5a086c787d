"""Boards: one TOML file each, holding cores, ISA features, GPU, and figures with their sources."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Annotated

import pydantic

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.files import Schema, read_toml
from lampq_tvm.levels import GPU_ARCHES, GpuArch
from lampq_tvm.resources import data_dir

Word = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_+-][A-Za-z0-9_.+-]*$", max_length=64)]  # never leaves a folder
Version = Annotated[str, pydantic.Field(pattern=r"^\d{1,3}\.\d{1,3}$")]


class Figure(Schema):
    """One number with the unit it is in and the place it comes from."""

    value: float = pydantic.Field(gt=0)
    unit: str
    source: str = pydantic.Field(min_length=1)


class Cpu(Schema):
    """A board's cores.

    Attributes:
        mcpu, mattr: LLVM's name and feature switches.
        features: the names that the board's /proc/cpuinfo shows; source says where they come from.
        qemu: the emulator's CPU model with the same features, or the closest one, and its properties (`max,sme=off`).
        part: the core's part number in /proc/cpuinfo, for programs that read it.
        core: the file of `targets/cores/` that estimates its cycles; None where the vendor publishes no figures.
    """

    mcpu: Word
    mattr: tuple[Word, ...]
    cores: int = pydantic.Field(gt=0, le=4096)
    features: tuple[Word, ...]
    part: str
    implementer: str = "0x41"
    qemu: str = "max"
    core: Word | None = None
    source: str


class Gpu(Schema):
    """A GPU.

    Attributes:
        arch: its CUDA architecture, a row of `levels/gpu.py`: `sm_87`.
        sms: its streaming multiprocessors.
        jetpack: CUDA's version by JetPack level; empty for a plug-in card, whose driver is the user's choice.
    """

    arch: str
    sms: int = pydantic.Field(gt=0, le=4096)
    jetpack: dict[Annotated[str, pydantic.Field(pattern=r"^jp\d+$")], Version] = {}
    source: str

    @pydantic.field_validator("arch")
    @classmethod
    def _known(cls, arch: str) -> str:
        if arch not in GPU_ARCHES:
            raise ValueError(f"its arch is none of {', '.join(GPU_ARCHES)}")
        return arch

    @property
    def facts(self) -> GpuArch:
        """What its architecture has."""
        return GPU_ARCHES[self.arch]

    @property
    def int8_matrix(self) -> bool:
        """Whether it has matrix instructions for bytes."""
        return self.facts.matrix is not None

    @property
    def int4_matrix(self) -> bool:
        """Whether it has such instructions for nibbles in hardware."""
        return self.facts.int4_matrix


class Board(Schema):
    """One file of `targets/`; `figures` holds clocks, memory and peak rates, each with its source.

    A plug-in card has no `cpu`: it sits in an x86 machine.
    """

    name: str
    description: str
    cpu: Cpu | None = None
    gpu: Gpu | None = None
    figures: dict[str, Figure]

    @property
    def arm(self) -> Cpu:
        """Its Arm cores.

        Raises:
            UnsupportedError: it has none.
        """
        if self.cpu is None:
            raise UnsupportedError("a plug-in card has no cores of its own", where=self.name, hint="use host")
        return self.cpu


@functools.cache
def boards() -> dict[str, Board]:
    """Every board of `targets/`, by name."""
    found = {}
    for path in sorted(data_dir("targets").glob("*.toml")):
        found[path.stem] = read_board(path)
    return found


def read_board(path: Path) -> Board:
    """A board's file.

    Raises:
        UnsupportedError: it is none.
    """
    broken, hint = UnsupportedError, "compare it with the files beside it"
    return read_toml(path, Board, "the board file", unreadable=broken, broken=broken, hint=hint)


def find_board(name: str) -> Board:
    """The board called `name`.

    Raises:
        UnsupportedError: there is none; the nearest names are offered.
    """
    known = boards()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.lower(), ["host", *known], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "lampq targets lists the known ones"
    raise UnsupportedError(f"unknown target {name!r}", hint=hint)
