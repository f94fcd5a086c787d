"""What an architecture's kernels multiply with, by its row in `levels/gpu.py`."""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.kernels.cuda.half import FmaMma, HalfMma, TuringHalfMma
from lampq_tvm.kernels.cuda.mma import Mma, TuringMma
from lampq_tvm.kernels.cuda.xavier import Dp4aMma, WmmaHalfMma, WmmaMma
from lampq_tvm.kinds import Kind, as_kind
from lampq_tvm.levels import GPU_ARCHES
from lampq_tvm.levels.gpu import AMPERE, TURING, VOLTA


@dataclass(frozen=True)
class Kinds:
    """The multiply-adds of a kind of matrix instructions.

    Attributes:
        codes, half: of products of codes, and of float16 values.
        attention, half_attention: of attention, which needs sums in the registers' order of `mma.Mma`.
        nibbles: whether 4-bit weights are widened in registers, and multiplied as they are where the chip has that.
    """

    codes: type[Mma]
    half: type[Mma]
    attention: type[Mma]
    half_attention: type[HalfMma]
    nibbles: bool = True


KINDS = {
    AMPERE: Kinds(Mma, HalfMma, Mma, HalfMma),
    TURING: Kinds(TuringMma, TuringHalfMma, TuringMma, TuringHalfMma),
    VOLTA: Kinds(WmmaMma, WmmaHalfMma, Dp4aMma, FmaMma, nibbles=False),
    None: Kinds(WmmaMma, FmaMma, Dp4aMma, FmaMma, nibbles=False),  # codes are refused before they are compiled
}


def mma_for(w: Kind | int, a: Kind | int, arch: str) -> Mma:
    """The multiply-add of a product, from kinds or the widths of codes.

    Nibbles where the chip multiplies them; elsewhere 4-bit weights are widened to bytes.
    """
    kinds, gpu, (w_kind, a_kind) = _kinds(arch), GPU_ARCHES[arch], map(as_kind, (w, a))
    if w_kind.is_float:
        return kinds.half("f16", 16, 16)
    if w_kind.bits > 4 or not kinds.nibbles:
        return kinds.codes("s8", 8, 8)
    return kinds.codes("s4", 4, 4) if a_kind.bits <= 4 and gpu.int4_matrix else kinds.codes("w4a8", 8, 4)


def attention_mma(arch: str) -> Mma:
    """The multiply-add of attention, in bytes."""
    return _kinds(arch).attention("s8", 8, 8)


def half_mma(arch: str) -> HalfMma:
    """The multiply-add of float16 values in the registers' order of `mma.Mma`, which attention needs."""
    return _kinds(arch).half_attention("f16", 16, 16)


def shared_limit(arch: str) -> int:
    """Bytes of shared memory that a block may have."""
    return GPU_ARCHES[arch].shared_bytes


def _kinds(arch: str) -> Kinds:
    return KINDS[GPU_ARCHES[arch].matrix]
