"""Which multiply-add an architecture has for two widths."""

from __future__ import annotations

from lampq_tvm.kernels.cuda.mma import Mma, TuringMma
from lampq_tvm.kernels.cuda.xavier import Dp4aMma, WmmaMma


def mma_for(w_bits: int, a_bits: int, arch: str) -> Mma:
    """The multiply-add of a product.

    4-bit products run where the chip has them (sm_75 to sm_89); sm_90 and later emulate them slowly, so 4-bit weights are
    widened there. sm_72 has bytes only.
    """
    number = int(arch.removeprefix("sm_"))
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
