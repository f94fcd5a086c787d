"""What quantize returns: the integer network, operator by operator, with every constant that the board will use.

Oracle, torch reference and kernels read these constants; none recomputes them. The rules of each operator are the
arithmetic table of the documentation (`docs/arithmetic.md`). Where codes have 16 bits they are float16 values, made by
clamping to +-65504 and rounding; layers at 16 bits sum their products in float32.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lampq_tvm.network.model import InputSpec, Op, op_from_json, op_to_json
from lampq_tvm.plan import BitPlan
from lampq_tvm.store import load_stage, save_stage


@dataclass(frozen=True)
class QPatchEmbed(Op):
    """Pixels to stream: r[t, n] = pos[t, n] + fma(acc, S[n], B[n]) for patch tokens, prefix rows before them.

    Input: pixel codes (pixel - 128) [B, C, H, W] int8. Output: stream [B, T, N] float32, T = P + patches.
    Tensors: `.w` [N, C*p*p] int8 codes (k in the order c, row, column), `.S` `.B` [N] f32, `.pos` [patches, N] f32
    ([1, N] where all patches get the same), `.prefix` [P, N] f32.
    """

    patch: int
    w_bits: int


@dataclass(frozen=True)
class QLayerNorm(Op):
    """Stream to codes of the next layer: sat(rne(fma(c * r, G[c], B[c]))). Tensors: `.G` `.B` [C] f32."""

    eps: float
    out_bits: int


@dataclass(frozen=True)
class QFloatNorm(Op):
    """LayerNorm to float: fma(c * r, G[c], B[c]). Tensors: `.G` `.B` [C] f32. Any [..., C]."""

    eps: float


@dataclass(frozen=True)
class QProduct(Op):
    """Product acc[.., n] = sum_k a[.., k] w[n, k], in integers or of float16 values in float32, then an epilogue.

    Tensors: `.w` [N, K] int8 codes, float16 at 16 bits, and by `epilogue`:
        codes: `.M` `.B` [N] f32; code = sat(rne(fma(acc, M, B))) at out_bits.
        table: the 8-bit code of `codes`, then `.table` [256] int8 or float16 at index code + 128: the next layer's codes.
        act: of a float16 layer, `.S` `.B` [N] f32, `.affine` [2] f32; x = f(fma(acc, S, B)), then codes as `QToCodes`.
        residual: inputs (codes, stream), `.S` `.B` [N] f32; stream + fma(acc, S, B), float32.
        float: `.S` `.B` [N] f32; fma(acc, S, B), float32.

    Attributes:
        w_bits, a_bits: widths of the weight codes and the input codes.
        out_bits: width of the codes that `codes` and `act` saturate to (8 before a table).
        act: of `act`, the activation function f.
    """

    epilogue: str
    w_bits: int
    a_bits: int
    out_bits: int
    act: str = ""


@dataclass(frozen=True)
class QAttention(Op):
    """Softmax attention on symmetric codes, per head.

    Input: qkv codes [B, (windows,) T, 3 * heads * head_dim] int8 at `bits`. Output: codes [B, (windows,) T, heads * head_dim]
    int8 at out_bits.
    d = rowmax(acc) - acc; i = min(255, rne(d * S[h])); p = P[i]; R = sum p;
    code = sat(rne(fma(acc2 * (1/R), M[n], B[n]))), acc2 = sum_t p[t] v[t, n].
    Tensors: `.S` [heads] f32, `.P` [256] uint8, `.M` `.B` [heads * head_dim] f32.
    With groups, window b (of all images) adds bias[h, at[pattern[b % groups], t, u]] to acc before anything else:
    `.bias` [heads, entries] int32, `.at` [patterns, T, T] and `.pattern` [groups] uint8, uint16 or uint32.

    At 16 bits (no P): p = float16(2^(x - rowmax)), x = acc S[h], or fma(acc, S[h], bias) with the bias float32 and in
    exponents of two; R = sum p, everything else float32.

    Attributes:
        bits: width of q, k and v.
        groups: windows of an image, or 1 where all of them add the same to their scores; 0 where nothing is added.
    """

    heads: int
    head_dim: int
    bits: int
    out_bits: int
    groups: int = 0


@dataclass(frozen=True)
class QAttentionPool(Op):
    """Softmax attention of constant queries, by the rules of `QAttention`.

    Input: kv codes [B, T, 2 * heads * head_dim] int8 at `bits`. Output: codes [B, L, heads * head_dim] int8 at out_bits.
    Tensors: `.query` [heads, L, head_dim] int8 (float16 at 16 bits), `.S` [heads] f32, `.P` [256] uint8,
    `.M` `.B` [heads * head_dim] f32.
    """

    heads: int
    head_dim: int
    bits: int
    out_bits: int


@dataclass(frozen=True)
class QUnitHeads(Op):
    """Float qkv [B, .., T, 3 * heads * head_dim] to codes; q and k are first divided by their lengths, head by head.

    u = fl(x * fl(1 / max(fl(sqrt(sum of x^2)), fl(eps)))), summed in lanes as LayerNorm's squares;
    code = sat(rne(fma(u, inv, 0))); v without the length. Tensor: `.inv` [3, heads] f32.
    """

    heads: int
    head_dim: int
    eps: float
    out_bits: int


@dataclass(frozen=True)
class QRotary(Op):
    """Float qkv [B, .., T, 3 * heads * head_dim] to codes; q and k are first turned, head by head.

    u = fma(x[c], cos[t, c], fl(x[partner[c]] * sin[t, c])); code = sat(rne(fma(u, inv, 0))); v is not turned.
    Tensors: `.cos` `.sin` [T, head_dim] f32, `.partner` [head_dim] int32, `.inv` [3, heads] f32.
    """

    heads: int
    head_dim: int
    out_bits: int


@dataclass(frozen=True)
class QGate(Op):
    """fl(table[sat(rne(g)) + 128] * x), float32; g, an 8-bit code before rounding, and x are columns of the two inputs.

    Inputs [B, .., Ca], [B, .., Cb] f32: columns gate_at.. and value_at.., `width` of them. Tensor: `.table` [256] f32.
    """

    gate_at: int
    value_at: int
    width: int


@dataclass(frozen=True)
class QRegroup(Op):
    """Tokens put in another order, cut into windows, or several joined to one: codes or float32, as they come in.

    Input: [B, .., C] with `rows` tokens per image. Output: [B, (windows,) T', parts * C].
    Tensors: `.index` int8, int16 or int32 [(windows,) T', parts], -1 for a token filled with `.fill` [1] (zero in the
    input's units).
    """

    rows: int


@dataclass(frozen=True)
class QAdd(Op):
    """fl(a + b) of two float32 values: a stream and a normalized branch."""


@dataclass(frozen=True)
class QToCodes(Op):
    """Float to code: sat(rne(fma(x, inv_scale, zero))). Tensors: `.affine` [2] f32 = (1/s, z)."""

    out_bits: int


@dataclass(frozen=True)
class QTakeToken(Op):
    """Token `index` of [B, T, C] (float32), giving [B, C]."""

    index: int


@dataclass(frozen=True)
class QMeanTokens(Op):
    """Tokens `start`.. added in their order, then times fl(1/n), float32. Tensors: `.inv` [1] f32."""

    start: int


@dataclass(frozen=True)
class QAverageHeads(Op):
    """fl(fl(a + b) * 0.5) of two float32 values."""


Q_TYPES = {
    c.__name__: c
    for c in (
        QPatchEmbed, QLayerNorm, QFloatNorm, QProduct, QAttention, QAttentionPool, QUnitHeads, QRotary, QGate, QRegroup, QAdd,
        QToCodes, QTakeToken, QMeanTokens, QAverageHeads,
    )
}  # fmt: skip


@dataclass(frozen=True)
class QuantizedModel:
    """The integer network.

    Attributes:
        ops: in execution order; each value carries its operator's name, the image is `image`.
        output: name of the float32 output value.
        input: the image it takes.
        plan: the plan it was made from.
        weights: `trained` or `random`.
        has_classifier: whether the output are class logits.
        tensors: constants by `{op.name}.{field}`.
    """

    ops: tuple[Op, ...]
    output: str
    input: InputSpec
    plan: BitPlan
    weights: str
    has_classifier: bool
    tensors: dict[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Write to one file."""
        meta = {
            "ops": [op_to_json(op) for op in self.ops],
            "output": self.output,
            "input": dataclasses.asdict(self.input),
            "plan": self.plan.model_dump(),
            "weights": self.weights,
            "has_classifier": self.has_classifier,
        }
        save_stage(path, "quantized", meta, self.tensors)

    @staticmethod
    def load(path: Path) -> QuantizedModel:
        """Read what `save` wrote."""
        meta, tensors = load_stage(path, "quantized")
        return QuantizedModel(
            ops=tuple(op_from_json(row, Q_TYPES) for row in meta["ops"]),
            output=meta["output"],
            input=InputSpec(**{**meta["input"], "mean": tuple(meta["input"]["mean"]), "std": tuple(meta["input"]["std"])}),
            plan=BitPlan.model_validate(meta["plan"]),
            weights=meta["weights"],
            has_classifier=meta["has_classifier"],
            tensors=tensors,
        )
