"""Plain NEON (no dot product): `smull`/`smlal` to 16 bits, then `sadalp` adds pairs into int32 lanes.

16-bit sums hold `depth` products exactly: one at 8/8 (-128 * -128 = 16384, twice that leaves int16), 16 at 4/4. So
fewer bits really are faster: the widening `sadalp` runs once per `depth` multiplications.
"""

from __future__ import annotations

import functools

from tvm.ir import Expr as PrimExpr
from tvm.script import tirx as T

from lampq_tvm.kernels.isa.dot import Dot, depth_of, llvm


def _pairs(word: PrimExpr) -> PrimExpr:
    """Two int8 in a 16-bit word, repeated over eight bytes."""
    return T.reinterpret(T.broadcast(word, 4), dtype="int8x8")


def _step(acc: PrimExpr, words: list[PrimExpr], weights: list[PrimExpr]) -> PrimExpr:
    total = None
    for word, weight in zip(words, weights, strict=True):
        product = llvm("llvm.aarch64.neon.smull.v8i16", "int16x8", _pairs(word), weight)
        total = product if total is None else total + product
    return acc + llvm("llvm.aarch64.neon.saddlp.v4i32.v8i16", "int32x4", total)


@functools.cache
def dot(w_bits: int, a_bits: int) -> Dot:
    """A step whose 16-bit sums are as deep as the widths allow."""
    depth = depth_of(32767, 1 << (w_bits + a_bits - 2))
    return Dot(f"neon_s8s8_{depth}", lanes=4, group=2, depth=depth, a_dtype="int8", shift=0, step=_step)
