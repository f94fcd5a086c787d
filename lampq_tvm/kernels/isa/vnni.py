"""AVX-512 VNNI: `vpdpbusd` adds four products of unsigned by signed bytes into each int32 lane, without saturation.

LLVM 22 declares the intrinsic with byte vectors for both factors (older ones took int32 vectors).
"""

from __future__ import annotations

from tvm.ir import Expr as PrimExpr

from lampq_tvm.kernels.isa.dot import Dot, llvm, splat


def _step(acc: PrimExpr, words: list[PrimExpr], weights: list[PrimExpr]) -> PrimExpr:
    return llvm("llvm.x86.avx512.vpdpbusd.512", "int32x16", acc, splat(words[0], 16, "int8x64"), weights[0])


_DOT = Dot("vnni_u8s8", lanes=16, group=4, depth=1, a_dtype="uint8", shift=128, step=_step)


def dot(w_bits: int, a_bits: int) -> Dot:
    """The same step for all widths: fewer bits are not faster here."""
    return _DOT
