"""AVX2: `vpmaddwd` on bytes widened to 16 bits, or `vpmaddubsw` where its 16-bit pair sums cannot saturate.

`vpmaddubsw` adds two products of unsigned by signed bytes with saturation: 2 * 255 * 128 does not fit, so 8/8 takes
the wider instruction; from 8/7 or 7/8 bits down the sums fit and `depth` of them are widened at once.
"""

from __future__ import annotations

import functools

from tvm.ir import Expr as PrimExpr
from tvm.script import tirx as T

from lampq_tvm.kernels.isa.dot import Dot, depth_of, llvm, splat


def _wide(acc: PrimExpr, words: list[PrimExpr], weights: list[PrimExpr]) -> PrimExpr:
    widened = T.cast(weights[0], "int16x16")
    return acc + llvm("llvm.x86.avx2.pmadd.wd", "int32x8", splat(words[0], 8, "int16x16"), widened)


def _narrow(acc: PrimExpr, words: list[PrimExpr], weights: list[PrimExpr]) -> PrimExpr:
    total = None
    for word, weight in zip(words, weights, strict=True):
        product = llvm("llvm.x86.avx2.pmadd.ub.sw", "int16x16", splat(word, 8, "int8x32"), weight)
        total = product if total is None else total + product
    ones = T.broadcast(T.int16(1), 16)
    return acc + llvm("llvm.x86.avx2.pmadd.wd", "int32x8", total, ones)


_WIDE = Dot("avx2_s16s8", lanes=8, group=2, depth=1, a_dtype="int16", shift=0, step=_wide)


@functools.cache
def dot(w_bits: int, a_bits: int) -> Dot:
    """The narrow step where a pair of products stays below 2^15, else the wide one."""
    pair = 2 * ((1 << a_bits) - 1) * (1 << (w_bits - 1))
    if pair > 32767:
        return _WIDE
    depth, shift = depth_of(32767, pair), 1 << (a_bits - 1)
    return Dot(f"avx2_u8s8_{depth}_{shift}", lanes=8, group=4, depth=depth, a_dtype="uint8", shift=shift, step=_narrow)
