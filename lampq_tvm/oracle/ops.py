"""The arithmetic table in NumPy: one function per operator of the integer network, on plain arrays.

Written to be read beside the table, not to be fast. Integers are int8 codes and int32 sums; floats are float32 and every
operation on them rounds once. Sums of integers run in float64, where they are exact below 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.kinds import Encode, Kind, as_kind
from lampq_tvm.oracle.fma import fma32
from lampq_tvm.quantize.constants import UNARY

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
LANES = 32
ONE = np.float32(1)
LARGEST_HALF = np.float32(65504)


def saturate(x: F32, out: Kind | int) -> npt.NDArray[Any]:
    """Round to nearest, ties to even, and clamp to the codes of a kind, or of so many bits; or round to float16, clamped."""
    kind = as_kind(out)
    if kind is Kind.FLOAT16:
        return np.clip(x, -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
    return np.clip(np.rint(x), kind.low, kind.high).astype(np.int8)


def product_acc(a: I8 | U8, w: I8) -> I32:
    """acc[.., n] = sum over k of a[.., k] w[n, k]."""
    return (a.astype(np.float64) @ w.astype(np.float64).swapaxes(-1, -2)).astype(np.int32)


def half_sums(a: npt.NDArray[Any], w: npt.NDArray[Any]) -> F32:
    """acc[.., n] = sum over k of a[.., k] w[n, k] of float16 values: the exact sum, rounded to float32."""
    return (a.astype(np.float64) @ w.astype(np.float64).swapaxes(-1, -2)).astype(np.float32)


def requantize(acc: I32 | F32, M: F32, B: F32, out: Kind | int) -> npt.NDArray[Any]:
    """sat(rne(fma(fl(acc), M[n], B[n])))."""
    return saturate(fma32(acc.astype(np.float32), M, B), out)


def apply_table(codes: I8, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """table[code + 128], `table` [256]."""
    return np.asarray(table[codes.astype(np.int32) + 128])


def stored(codes: npt.NDArray[Any], encode: Encode, t: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """What is stored for codes: they themselves, or what the table says."""
    return codes if encode.table is None else apply_table(codes, t["table"])


def float_out(acc: I32 | F32, S: F32, B: F32) -> F32:
    """fma(fl(acc), S[n], B[n])."""
    return fma32(acc.astype(np.float32), S, B)


def activated(acc: F32, S: F32, B: F32, kind: str, affine: F32, out: Kind | int) -> npt.NDArray[Any]:
    """f(fma(acc, S, B)), worked out in float64 and rounded, then codes."""
    values = np.vectorize(UNARY[kind], otypes=[np.float64])(float_out(acc, S, B).astype(np.float64))
    return to_codes(values.astype(np.float32), affine, out)


def residual(stream: F32, acc: I32 | F32, S: F32, B: F32) -> F32:
    """fl(stream + fma(fl(acc), S[n], B[n]))."""
    return np.asarray(stream + float_out(acc, S, B))


def pixels_from_float(x: F32, mean: Sequence[float], std: Sequence[float]) -> U8:
    """8-bit pixels of a normalized image x [B, C, H, W]: rne(fma(x, fl(255 std), fl(255 mean))), clamped to 0..255."""
    scale = np.array([255 * s for s in std], np.float32)[:, None, None]
    shift = np.array([255 * m for m in mean], np.float32)[:, None, None]
    return np.clip(np.rint(fma32(x, scale, shift)), 0, 255).astype(np.uint8)


def pixel_codes(pixels: U8) -> I8:
    """pixel - 128."""
    return (pixels.astype(np.int16) - 128).astype(np.int8)


def patches(codes: I8, patch: int) -> I8:
    """[B, C, H, W] -> [B, T, C * patch * patch], tokens in row-major order, k in the order channel, row, column."""
    B, C, H, W = codes.shape
    tiles = codes.reshape(B, C, H // patch, patch, W // patch, patch).transpose(0, 2, 4, 1, 3, 5)
    return tiles.reshape(B, (H // patch) * (W // patch), C * patch * patch)


def patch_embed(codes: I8, w: npt.NDArray[Any], S: F32, B: F32, pos: F32, prefix: F32, patch: int) -> F32:
    """Pixel codes [B, C, H, W] to the stream [B, P + T, N]: prefix rows, then fl(pos[t] + fma(fl(acc), S, B))."""
    rows = patches(codes, patch)
    tokens = pos + float_out(half_sums(rows, w) if w.dtype == np.float16 else product_acc(rows, w), S, B)
    first = np.broadcast_to(prefix, (len(codes), *prefix.shape))
    return np.concatenate([first, tokens], 1)


def _halve(lanes: F32) -> F32:
    """Lane sums [.., 32] added in halves 16, 8, 4, 2, 1: [.., 1]."""
    width = LANES // 2
    while width:
        lanes = lanes[..., :width] + lanes[..., width : 2 * width]
        width //= 2
    return lanes


def normalized(x: F32, eps: float, centred: bool = True) -> F32:
    """fl(c * r) of LayerNorm over the last axis, summed in 32 strided lanes (lane l: l, l + 32, ...); RMSNorm has c = x."""
    C = x.shape[-1]
    inverse = ONE / np.float32(C)
    sums = np.zeros((*x.shape[:-1], LANES), np.float32)
    for start in range(0, C, LANES):
        part = x[..., start : start + LANES]
        sums[..., : part.shape[-1]] += part
    c = fma32(-inverse, _halve(sums), x) if centred else x
    squares = np.zeros_like(sums)
    for start in range(0, C, LANES):
        part = c[..., start : start + LANES]
        squares[..., : part.shape[-1]] = fma32(part, part, squares[..., : part.shape[-1]])
    variance = fma32(_halve(squares), inverse, np.float32(eps))
    return np.asarray(c * (ONE / np.sqrt(variance)))


def layer_norm_float(x: F32, G: F32, B: F32, eps: float, centred: bool = True) -> F32:
    """LayerNorm to float32: fma(fl(c * r), G[c], B[c])."""
    return fma32(normalized(x, eps, centred), G, B)


def layer_norm_codes(x: F32, G: F32, B: F32, eps: float, out: Kind | int, centred: bool = True) -> npt.NDArray[Any]:
    """LayerNorm to codes: sat(rne(fma(fl(c * r), G[c], B[c])))."""
    return saturate(layer_norm_float(x, G, B, eps, centred), out)


def attention(
    qkv: I8, S: F32, P: U8, M: F32, B: F32, heads: int, head_dim: int, out: Kind | int, bias: I32 | None = None
) -> I8:
    """Softmax attention on codes qkv [B, T, 3 * heads * head_dim]: codes [B, T, heads * head_dim].

    B counts the windows of all images where there are windows. bias [groups, heads, T, T] is added to the scores in int32,
    row b taking group b % groups. The row's maximum is subtracted in int32, the difference indexes P, and the value sums
    are divided once, by the reciprocal of the integer sum of p.
    """
    N, T, _ = qkv.shape
    q, k, v = qkv.reshape(N, T, 3, heads, head_dim).transpose(2, 0, 3, 1, 4)
    scores = product_acc(q, k)
    if bias is not None:
        scores = scores + bias[np.arange(N) % len(bias)]
    distance = scores.max(-1, keepdims=True) - scores
    index = np.minimum(np.rint(distance.astype(np.float32) * S[:, None, None]), 255).astype(np.int32)
    p = P[index]
    reciprocal = ONE / p.sum(-1, keepdims=True, dtype=np.int32).astype(np.float32)
    acc = product_acc(p, v.swapaxes(-1, -2))
    merged = (acc.astype(np.float32) * reciprocal).transpose(0, 2, 1, 3).reshape(N, T, heads * head_dim)
    return saturate(fma32(merged, M, B), out)


def half_attention(
    qkv: npt.NDArray[Any], S: F32, M: F32, B: F32, heads: int, head_dim: int, out: Kind | int, bias: F32 | None = None
) -> npt.NDArray[Any]:
    """`attention` of float16 values in float64: p = float16(2^(S acc + bias - rowmax)), normalized after the value product."""
    N, T, _ = qkv.shape
    q, k, v = qkv.reshape(N, T, 3, heads, head_dim).transpose(2, 0, 3, 1, 4).astype(np.float64)
    merged = mixed_values(q, k, v, S, bias).transpose(0, 2, 1, 3).reshape(N, T, heads * head_dim)
    return saturate(fma32(merged.astype(np.float32), M, B), out)


def mixed_values(q: F64, k: F64, v: F64, S: F32, bias: F32 | None = None) -> F64:
    """softmax((S q k^T + bias) / log2(e)) v of [N, heads, T, head_dim], the weights rounded to float16 before their sum.

    bias [groups, heads, T, T]: row n takes group n % groups.
    """
    scores = q @ k.swapaxes(-1, -2) * S[:, None, None].astype(np.float64)
    if bias is not None:
        scores = scores + bias[np.arange(len(scores)) % len(bias)]
    p = np.exp2(scores - scores.max(-1, keepdims=True)).astype(np.float16).astype(np.float64)
    return np.asarray(p @ v / p.sum(-1, keepdims=True))


def attention_pool(kv: I8, query: I8, S: F32, P: U8 | None, M: F32, B: F32, out: Kind | int) -> npt.NDArray[Any]:
    """Constant queries [heads, L, head_dim] over codes kv [B, T, 2 * heads * head_dim]: codes [B, L, heads * head_dim]."""
    heads, L, head_dim = query.shape
    k, v = kv.reshape(len(kv), -1, 2, heads, head_dim).transpose(2, 0, 3, 1, 4)
    if query.dtype == np.float16:
        merged = mixed_values(query.astype(np.float64), k.astype(np.float64), v.astype(np.float64), S).astype(np.float32)
        return saturate(fma32(merged.transpose(0, 2, 1, 3).reshape(len(kv), L, heads * head_dim), M, B), out)
    scores = product_acc(query, k)
    distance = scores.max(-1, keepdims=True) - scores
    assert P is not None
    p = P[np.minimum(np.rint(distance.astype(np.float32) * S[:, None, None]), 255).astype(np.int32)]
    reciprocal = ONE / p.sum(-1, keepdims=True, dtype=np.int32).astype(np.float32)
    acc = product_acc(p, v.swapaxes(-1, -2))
    merged = (acc.astype(np.float32) * reciprocal).transpose(0, 2, 1, 3).reshape(len(kv), L, heads * head_dim)
    return saturate(fma32(merged, M, B), out)


def unit_heads(qkv: F32, inv: F32, heads: int, eps: float, out: Kind | int) -> npt.NDArray[Any]:
    """q and k of qkv [.., 3 * heads * head_dim] over their lengths, then codes: sat(rne(fma(u, inv, 0))), inv [3, heads]."""
    parts = qkv.reshape(*qkv.shape[:-1], 3, heads, -1).copy()
    turned = parts[..., :2, :, :]
    squares = np.zeros((*turned.shape[:-1], LANES), np.float32)
    for start in range(0, turned.shape[-1], LANES):
        part = turned[..., start : start + LANES]
        squares[..., : part.shape[-1]] = fma32(part, part, squares[..., : part.shape[-1]])
    parts[..., :2, :, :] = turned * (ONE / np.maximum(np.sqrt(_halve(squares)), np.float32(eps)))
    return saturate(fma32(parts, inv[..., None], np.float32(0)), out).reshape(qkv.shape)


def rotary(qkv: F32, cos: F32, sin: F32, partner: I32, inv: F32, out: Kind | int) -> npt.NDArray[Any]:
    """q and k of qkv [.., T, 3 * heads * head_dim] turned: fma(x, cos, fl(x[partner] sin)), then codes as `unit_heads`."""
    heads = inv.shape[1]
    parts = qkv.reshape(*qkv.shape[:-1], 3, heads, -1).copy()
    still = parts[..., :2, :, :]
    parts[..., :2, :, :] = fma32(still, cos[:, None, None], still[..., partner] * sin[:, None, None])
    return saturate(fma32(parts, inv[..., None], np.float32(0)), out).reshape(qkv.shape)


def gate(g: F32, x: F32, table: F32) -> F32:
    """fl(table[sat(rne(g)) + 128] * x)."""
    return np.asarray(table[saturate(g, 8).astype(np.int32) + 128] * x)


def to_codes(x: F32, affine: F32, out: Kind | int) -> npt.NDArray[Any]:
    """sat(rne(fma(x, fl(1/s), fl(z)))), `affine` = (1/s, z)."""
    return saturate(fma32(x, affine[0], affine[1]), out)


def regroup(x: I8 | F32, index: I32, fill: I8 | F32, rows: int) -> I8 | F32:
    """[B, .., C] with `rows` tokens per image to [B, *index.shape[:-1], parts * C]; index -1 gives tokens of `fill` [1]."""
    tokens = x.reshape(len(x), rows, x.shape[-1])
    spare = np.full((len(x), 1, x.shape[-1]), fill[0], x.dtype)
    taken = np.concatenate([tokens, spare], 1)[:, index]  # -1 takes the last token, the spare one
    return taken.reshape(len(x), *index.shape[:-1], -1)


def add(a: F32, b: F32) -> F32:
    """fl(a + b)."""
    return np.asarray(a + b)


def take_token(x: F32, index: int) -> F32:
    """Token `index` of [B, T, C]."""
    return x[:, index]


def mean_tokens(x: F32, start: int, inv: F32) -> F32:
    """Tokens `start`.. of [B, T, C] added in their order, then fl(sum * inv), `inv` [1]."""
    total = x[:, start].copy()
    for t in range(start + 1, x.shape[1]):
        total += x[:, t]
    return np.asarray(total * inv)


def average_heads(a: F32, b: F32) -> F32:
    """fl(fl(a + b) * 0.5)."""
    return np.asarray((a + b) * np.float32(0.5))


def matmul(a: I8, b: I8, zero: int, S: F32) -> F32:
    """fl(fl(acc) * S), acc = (a - zero) b of matrices [.., M, K] and [.., K, N]."""
    acc = product_acc(a, b.swapaxes(-1, -2)) - zero * b.sum(-2, dtype=np.int32, keepdims=True)
    return np.asarray(acc.astype(np.float32) * S)
