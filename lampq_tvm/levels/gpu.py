"""GPU architectures: a row each, with where its figures come from."""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

# Kinds of matrix instructions: the shape of the int8 one.
AMPERE, TURING, VOLTA = "m16n8k32", "m8n8k16", "m16n16k16"
TRAITS = "libcu++'s arch_traits.h (max_shared_memory_per_block_optin)"
TABLES = "CMake's and nixpkgs' tables of architectures"


@dataclass(frozen=True)
class GpuArch:
    """A GPU architecture.

    Attributes:
        name: `sm_87`.
        matrix: its matrix instructions by the shape of the int8 one: `m16n8k32` and `m8n8k16` are `mma.sync`, `m16n16k16` is
            `wmma`; None where it has none for bytes.
        int4_matrix: whether it has such instructions for nibbles in hardware; others emulate them slowly, or not at all.
        shared_kib: the most shared memory of a block, in KiB.
        cuda_from, cuda_ceiling: the first toolkit that compiles for it, and the last one where later ones dropped it.
        shared_source, cuda_source, int4_source: where these figures come from.
    """

    name: str
    matrix: str | None
    int4_matrix: bool
    shared_kib: int
    cuda_from: tuple[int, int]
    cuda_ceiling: tuple[int, int] | None
    shared_source: str
    cuda_source: str
    int4_source: str

    @property
    def shared_bytes(self) -> int:
        """The most shared memory of a block, in bytes."""
        return self.shared_kib << 10

    def compiles(self, version: tuple[int, int]) -> bool:
        """Whether a toolkit of this version makes code for it."""
        return self.cuda_from <= version and (self.cuda_ceiling is None or version <= self.cuda_ceiling)


SEEN, EMULATED = "s8 and s4 IMMA seen in nvdisasm output", "s4 is emulated through s8 in nvdisasm output"
GPU_ARCHES = Registry[str, GpuArch]("GPU architecture", error=UnsupportedError)


def _row(
    name: str,
    matrix: str | None,
    int4_matrix: bool,
    shared_kib: int,
    cuda: tuple[tuple[int, int], tuple[int, int] | None],
    int4_source: str,
    cuda_source: str = TABLES,
    shared_source: str = TRAITS,
) -> None:
    row = GpuArch(name, matrix, int4_matrix, shared_kib, *cuda, shared_source, cuda_source, int4_source)
    GPU_ARCHES.add(name, row)


_row(
    "sm_53", None, False, 48, ((7, 0), (12, 9)),
    int4_source="dp4a needs sm_61",
    cuda_source="CMake's table of architectures, and nvcc 13.0 does not know compute_53",
    shared_source="CUDA programming guide, specifications per compute capability",
)  # fmt: skip
_row(
    "sm_72", VOLTA, False, 96, ((9, 1), (12, 9)),
    int4_source="int4 needs Turing",
    cuda_source="first toolkit: clang's table of CUDA architectures; nvcc 13.0 does not know compute_72",
    shared_source="CUDA 13's cuda_occupancy.h",
)  # fmt: skip
_row("sm_75", TURING, True, 64, ((10, 0), None), f"{SEEN} for sm_75")
_row("sm_80", AMPERE, True, 163, ((11, 0), None), f"{SEEN} for sm_80")
_row("sm_86", AMPERE, True, 99, ((11, 1), None), f"{SEEN} for sm_86")
_row("sm_87", AMPERE, True, 163, ((11, 4), None), f"{SEEN} for sm_87")
_row("sm_89", AMPERE, True, 99, ((11, 8), None), f"{SEEN} for sm_89")
_row("sm_90", AMPERE, False, 227, ((11, 8), None), f"{EMULATED} for sm_90")
_row(
    "sm_110", AMPERE, False, 227, ((13, 0), None),
    int4_source=f"{EMULATED} for sm_110",
    cuda_source="nvcc 13.0 knows compute_110, called 10.1 before (nixpkgs' table)",
)  # fmt: skip
_row("sm_120", AMPERE, False, 99, ((12, 8), None), f"{EMULATED} for sm_120")
