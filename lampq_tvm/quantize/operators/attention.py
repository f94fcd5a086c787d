"""Softmax attention on codes: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lampq_tvm.kinds import Encode, Kind
from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS


@OPERATORS.register("QAttention")
@dataclass(frozen=True)
class QAttention(QOp):
    """Softmax attention on symmetric codes, per head.

    Input: qkv codes [B, (windows,) T, 3 * heads * head_dim] of `kind`. Output: codes [B, (windows,) T, heads * head_dim].
    d = rowmax(acc) - acc; i = min(255, rne(d * S[h])); p = P[i]; R = sum p;
    fma(acc2 * (1/R), M[n], B[n]), acc2 = sum_t p[t] v[t, n], is stored as `encode` says.
    Tensors: `.S` [heads] f32, `.P` [256] uint8, `.M` `.B` [heads * head_dim] f32.
    With groups, window b (of all images) adds bias[h, at[pattern[b % groups], t, u]] to acc before anything else:
    `.bias` [heads, entries] int32, `.at` [patterns, T, T] and `.pattern` [groups] uint8, uint16 or uint32.

    In float16 (no P): p = float16(2^(x - rowmax)), x = acc S[h], or fma(acc, S[h], bias) with the bias float32 and in
    exponents of two; R = sum p, everything else float32.

    Attributes:
        kind: of q, k and v.
        encode: of what comes out.
        groups: windows of an image, or 1 where all of them add the same to their scores; 0 where nothing is added.
    """

    of = ("Attention",)

    heads: int
    head_dim: int
    kind: Kind
    encode: Encode
    groups: int = 0

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """A third of the channels."""
        return (*x[0][:-1], self.heads * self.head_dim)

    @property
    def unweighted(self) -> Mapping[str, Kind]:
        """Scores, and what weighs the values."""
        return {"scores": self.kind, "values": self.kind}


@OPERATORS.register("QAttentionPool")
@dataclass(frozen=True)
class QAttentionPool(QOp):
    """Softmax attention of constant queries, by the rules of `QAttention`.

    Input: kv codes [B, T, 2 * heads * head_dim] of `kind`. Output: codes [B, L, heads * head_dim].
    Tensors: `.query` [heads, L, head_dim] int8 or float16, `.S` [heads] f32, `.P` [256] uint8,
    `.M` `.B` [heads * head_dim] f32.
    """

    of = ("AttentionPool",)

    heads: int
    head_dim: int
    kind: Kind
    encode: Encode

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """A token a query."""
        return tensors[f"{self.name}.query"].shape[1], self.heads * self.head_dim

    @property
    def unweighted(self) -> Mapping[str, Kind]:
        """Scores, and what weighs the values."""
        return {"scores": self.kind, "values": self.kind}
