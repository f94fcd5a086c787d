"""CPU architectures: what every level of one shares."""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry


@dataclass(frozen=True)
class CpuArch:
    """A CPU architecture.

    Attributes:
        name: as artifacts say it.
        triple: of LLVM and of linkers.
        machines: what `uname -m` calls it.
        elf: `e_machine` of its shared objects.
        linker: the system's compiler that links for it where it is installed; without one a cross linker does.
        sure: features that every core has, whatever /proc/cpuinfo says.
    """

    name: str
    triple: str
    machines: tuple[str, ...]
    elf: int
    linker: str | None = None
    sure: tuple[str, ...] = ()


CPU_ARCHES = Registry[str, CpuArch]("CPU architecture", error=UnsupportedError)
X86 = CPU_ARCHES.add("x86", CpuArch("x86", "x86_64-linux-gnu", ("x86_64", "amd64"), 62, linker="g++"))
AARCH64 = CPU_ARCHES.add("aarch64", CpuArch("aarch64", "aarch64-linux-gnu", ("aarch64", "arm64"), 183, sure=("asimd",)))
