"""Boards: one TOML file each, holding cores, ISA features, GPU, and figures with their sources."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Annotated

import pydantic

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.files import Schema, read_toml
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
        arch: its CUDA architecture, `sm_87`.
        sms: its streaming multiprocessors.
        cuda_from, cuda_ceiling: the first toolkit that compiles for it, and the last one where later ones dropped it.
        jetpack: CUDA's version by JetPack level; empty for a plug-in card, whose driver is the user's choice.
        int8_matrix, int4_matrix: whether it has such matrix instructions in hardware.
    """

    arch: str = pydantic.Field(pattern=r"^sm_\d{2,3}$")
    sms: int = pydantic.Field(gt=0, le=4096)
    cuda_from: Version
    cuda_ceiling: Version | None = None
    jetpack: dict[Annotated[str, pydantic.Field(pattern=r"^jp\d+$")], Version] = {}
    int4_matrix: bool
    int8_matrix: bool
    source: str


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
