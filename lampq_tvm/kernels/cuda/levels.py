"""What an architecture has: the multiply-add for two widths, shared memory."""

from __future__ import annotations

from lampq_tvm.artifact.launches import SHARED_KIB
from lampq_tvm.kernels.cuda.half import FmaMma, HalfMma, TuringHalfMma
from lampq_tvm.kernels.cuda.mma import Mma, TuringMma
from lampq_tvm.kernels.cuda.xavier import Dp4aMma, WmmaHalfMma, WmmaMma

WITHOUT_MATRIX_UNIT_KIB = {"sm_53": 48}  # not among the architectures that plans are accepted for


def mma_for(w_bits: int, a_bits: int, arch: str) -> Mma:
    """The multiply-add of a product.

    4-bit products run where the chip has them (sm_75 to sm_89); sm_90 and later emulate them slowly, so 4-bit weights are
    widened there. sm_72 has bytes only.
    """
    number = int(arch.removeprefix("sm_"))
    if w_bits == 16:
        return WmmaHalfMma("f16", 16, 16) if number == 72 else half_mma(arch)
    if number < 75:
        return WmmaMma("s8", 8, 8)
    kind = TuringMma if number < 80 else Mma
    if w_bits <= 4 and a_bits <= 4 and number < 90:
        return kind("s4", 4, 4)
    return kind("w4a8", 8, 4) if w_bits <= 4 else kind("s8", 8, 8)


def attention_mma(arch: str) -> Mma:
    """The multiply-add of attention, in bytes."""
    number = int(arch.removeprefix("sm_"))
    return Dp4aMma("s8", 8, 8) if number < 75 else mma_for(8, 8, arch)


def half_mma(arch: str) -> HalfMma:
    """The multiply-add of float16 values in the registers' order of `mma.Mma`, which attention needs."""
    number = int(arch.removeprefix("sm_"))
    kind = FmaMma if number < 75 else TuringHalfMma if number < 80 else HalfMma
    return kind("f16", 16, 16)


def shared_limit(arch: str) -> int:
    """Bytes of shared memory that a block may have (CUDA programming guide, specifications per compute capability)."""
    return 1024 * (SHARED_KIB | WITHOUT_MATRIX_UNIT_KIB)[arch]
