"""Arm dot product (Armv8.2 FEAT_DotProd): `sdot` adds four products of signed bytes into each int32 lane."""

from __future__ import annotations

from tvm.ir import Expr as PrimExpr

from lampq_tvm.kernels.isa.dot import Dot, llvm, splat


def _step(acc: PrimExpr, words: list[PrimExpr], weights: list[PrimExpr]) -> PrimExpr:
    return llvm("llvm.aarch64.neon.sdot.v4i32.v16i8", "int32x4", acc, weights[0], splat(words[0], 4, "int8x16"))


_DOT = Dot("dotprod_s8s8", lanes=4, group=4, depth=1, a_dtype="int8", shift=0, step=_step)


def dot(w_bits: int, a_bits: int) -> Dot:
    """The same step for all widths: fewer bits are not faster here."""
    return _DOT
