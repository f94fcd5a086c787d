"""CPU levels: instruction sets that code is compiled for, each with what its kernels are laid out by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.levels.arch import CpuArch
from lampq_tvm.registry import Registry


@dataclass(frozen=True)
class CpuLevel:
    """An instruction set level.

    Attributes:
        name: as artifacts, records and `--json` say it.
        arch: its architecture.
        rank: a machine is compiled for the level of highest rank among those whose features it has.
        features: names of /proc/cpuinfo that its code may rely on; an artifact needs these, and never a CPU's name.
        mcpu, mattr: LLVM's generic CPU and switches, so that code never takes instructions from a CPU's name.
        lanes: int32 or float32 lanes of a vector register.
        byte_lanes: bytes that are added up at once.
        look_lanes: bytes that a look-up in a 256-entry table takes at once; 0 where looking up is scalar work.
        registers: vector registers of a core.
        accumulators: those that hold sums beside the operands of a multiply-add.
        operand: type of the activation that is multiplied: `int8`, or `uint8` where the hardware wants unsigned ones.
        group: inputs of an output channel that lie side by side in packed weights.
        side, head_side: registers of weights, and of a head's keys and values, that are packed side by side.
        attention_rows, attention_vectors: the largest register tile of attention without tuning.
        enter, leave: LLVM intrinsics without arguments that each thread calls before it multiplies, and after.
    """

    name: str
    arch: CpuArch
    rank: int
    features: tuple[str, ...]
    mcpu: str
    mattr: tuple[str, ...]
    lanes: int
    byte_lanes: int
    registers: int
    accumulators: int
    operand: str
    group: int
    attention_rows: int
    attention_vectors: int
    look_lanes: int = 0
    side: int = 1
    head_side: int = 1
    enter: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()

    @property
    def tvm(self) -> dict[str, object]:
        """The dict that `tvm.target.Target` takes, for any machine of this level."""
        return {"kind": "llvm", "mtriple": self.arch.triple, "mcpu": self.mcpu, "mattr": list(self.mattr)}

    def missing(self, have: Iterable[str]) -> tuple[str, ...]:
        """Features that a machine lacks for it, sorted."""
        return tuple(sorted(set(self.features) - set(have) - set(self.arch.sure)))


CPU_LEVELS = Registry[str, CpuLevel]("CPU level", "lampq_tvm.levels.cpu", UnsupportedError)


def add_level(level: CpuLevel) -> CpuLevel:
    """Register a level; returns it."""
    return CPU_LEVELS.add(level.name, level)


def levels_of(arch: CpuArch) -> list[CpuLevel]:
    """An architecture's levels, the best first."""
    return sorted((level for level in CPU_LEVELS.values() if level.arch is arch), key=lambda level: -level.rank)


def best_level(arch: CpuArch, have: Iterable[str]) -> CpuLevel | None:
    """The best level whose features a machine has; None where it lacks some of every level's."""
    kept = set(have)
    return next((level for level in levels_of(arch) if not level.missing(kept)), None)
