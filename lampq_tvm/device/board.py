"""Boards: one TOML file each, holding cores, ISA features, GPU, and figures with their sources."""

from __future__ import annotations

import difflib
import functools
import sys

import pydantic

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.resources import data_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Figure(pydantic.BaseModel):
    """One number with the unit it is in and the place it comes from."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    value: float = pydantic.Field(gt=0)
    unit: str
    source: str = pydantic.Field(min_length=1)


class Cpu(pydantic.BaseModel):
    """A board's cores.

    Attributes:
        mcpu, mattr: LLVM's name and feature switches.
        features: the names that the board's /proc/cpuinfo shows; source says where they come from.
        qemu: the emulator's CPU model with the same features, or the closest one, and its properties (`max,sme=off`).
        part: the core's part number in /proc/cpuinfo, for programs that read it.
        core: the file of `targets/cores/` that estimates its cycles; None where the vendor publishes no figures.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    mcpu: str
    mattr: tuple[str, ...]
    cores: int = pydantic.Field(gt=0)
    features: tuple[str, ...]
    part: str
    implementer: str = "0x41"
    qemu: str = "max"
    core: str | None = None
    source: str


class Gpu(pydantic.BaseModel):
    """A GPU.

    Attributes:
        arch: its CUDA architecture, `sm_87`.
        sms: its streaming multiprocessors.
        cuda_from, cuda_ceiling: the first toolkit that compiles for it, and the last one where later ones dropped it.
        jetpack: CUDA's version by JetPack level; empty for a plug-in card, whose driver is the user's choice.
        int8_matrix, int4_matrix: whether it has such matrix instructions in hardware.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    arch: str = pydantic.Field(pattern=r"sm_\d+")
    sms: int = pydantic.Field(gt=0)
    cuda_from: str
    cuda_ceiling: str | None = None
    jetpack: dict[str, str] = {}
    int4_matrix: bool
    int8_matrix: bool
    source: str


class Board(pydantic.BaseModel):
    """One file of `targets/`; `figures` holds clocks, memory and peak rates, each with its source.

    A plug-in card has no `cpu`: it sits in an x86 machine.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
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
        try:
            board = Board.model_validate(tomllib.loads(path.read_text("utf-8")))
        except ValueError as e:
            hint = "compare it with the files beside it"
            raise UnsupportedError(f"not a board file ({e})", where=str(path), hint=hint) from e
        found[path.stem] = board
    return found


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
