"""The torch reference: what the board will compute, bit for bit where no layer is float, for many images at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network.model import Op
from lampq_tvm.plan import FLOAT_BITS
from lampq_tvm.quantize import exact, heads
from lampq_tvm.quantize import model as q

Pixels = npt.NDArray[np.uint8]
Values = dict[str, npt.NDArray[Any]]
UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
}
CHUNK = 32  # images at a time: small enough for the caches, and no result depends on it


@overload
def run_reference(qm: q.QuantizedModel, pixels: Pixels, *, values: Literal[False] = False) -> npt.NDArray[np.float32]: ...
@overload
def run_reference(qm: q.QuantizedModel, pixels: Pixels, *, values: Literal[True]) -> Values: ...
@torch.no_grad()
def run_reference(qm: q.QuantizedModel, pixels: Pixels, *, values: bool = False) -> npt.NDArray[np.float32] | Values:
    """Run the integer network.

    Args:
        qm: the network.
        pixels: [B, C, H, W] uint8 at the model's size.
        values: whether to return every operator's output instead of the logits alone.

    Returns:
        Logits [B, classes] float32; with `values`, int8 codes, float16 and float32 arrays by operator name.
    """
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in qm.tensors.items()}
    wanted = [op.name for op in qm.ops] if values else [qm.output]
    parts = [_run_chunk(qm, tensors, pixels[i : i + CHUNK], wanted) for i in range(0, max(1, len(pixels)), CHUNK)]
    joined = {name: torch.cat([part[name] for part in parts]).numpy() for name in wanted}
    return joined if values else joined[qm.output]


def _run_chunk(qm: q.QuantizedModel, tensors: dict[str, Tensor], pixels: Pixels, wanted: list[str]) -> dict[str, Tensor]:
    """The `wanted` values of a few images."""
    found = {"image": (torch.from_numpy(np.array(pixels)).short() - 128).to(torch.int8)}
    for op in qm.ops:
        mine = {k[len(op.name) + 1 :]: v for k, v in tensors.items() if k.rpartition(".")[0] == op.name}
        found[op.name] = _run_op(op, mine, [found[name] for name in op.inputs])
    return {name: found[name] for name in wanted}


def _run_op(op: Op, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """One operator's output."""
    match op:
        case q.QPatchEmbed():
            return _patch_embed(op, t, x[0])
        case q.QLayerNorm():
            return exact.saturate(exact.fma(exact.normalize(x[0], op.eps), t["G"], t["B"]), op.out_bits)
        case q.QFloatNorm():
            return exact.fma(exact.normalize(x[0], op.eps), t["G"], t["B"])
        case q.QProduct():
            return _product(op, t, x)
        case q.QAttention():
            return _attention(op, t, x[0])
        case q.QAttentionPool():
            return heads.attention_pool(op, t, x[0])
        case q.QUnitHeads():
            return heads.unit(op, t, x[0])
        case q.QRotary():
            return heads.rotary(op, t, x[0])
        case q.QGate():
            table = t["table"][exact.saturate(x[0].narrow(-1, op.gate_at, op.width), 8).int() + 128]
            return table * x[1].narrow(-1, op.value_at, op.width)
        case q.QRegroup():
            return _regroup(op, t, x[0])
        case q.QAdd():
            return x[0] + x[1]
        case q.QToCodes():
            inverse, zero = t["affine"]
            return exact.saturate(exact.fma(x[0], inverse, zero), op.out_bits)
        case q.QTakeToken():
            return x[0].select(1, op.index)
        case q.QMeanTokens():
            total, *rest = x[0][:, op.start :].unbind(1)
            for token in rest:
                total = total + token
            return total * t["inv"]
        case q.QAverageHeads():
            return (x[0] + x[1]) * 0.5
    raise UnsupportedError("the arithmetic table has no rule for this operator", where=f"{op.name} ({type(op).__name__})")


def _patch_embed(op: q.QPatchEmbed, t: dict[str, Tensor], codes: Tensor) -> Tensor:
    """Patches by unfolding, their product, positions, and the precomputed prefix rows in front."""
    columns = torch.nn.functional.unfold(codes.float(), op.patch, stride=op.patch).transpose(1, 2)
    tokens = t["pos"] + exact.fma(_sums(columns, t["w"], 8, op.w_bits), t["S"], t["B"])
    return torch.cat([t["prefix"].expand(len(codes), -1, -1), tokens], 1)


def _product(op: q.QProduct, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Product and epilogue."""
    acc = _sums(x[0], t["w"], op.a_bits, op.w_bits)
    if op.epilogue == "float":
        return exact.fma(acc, t["S"], t["B"])
    if op.epilogue == "act":
        inverse, zero = t["affine"]
        return exact.saturate(exact.fma(UNARY[op.act](exact.fma(acc, t["S"], t["B"])), inverse, zero), op.out_bits)
    if op.epilogue == "residual":
        return x[1] + exact.fma(acc, t["S"], t["B"])
    codes = exact.saturate(exact.fma(acc, t["M"], t["B"]), op.out_bits)
    return t["table"][codes.int() + 128] if op.epilogue == "table" else codes


def _sums(a: Tensor, w: Tensor, a_bits: int, w_bits: int) -> Tensor:
    """a w^T as float32."""
    if w_bits == FLOAT_BITS:
        return exact.half_product(a, w.T)
    return exact.product(a, w.T, a.shape[-1] << (a_bits + w_bits - 2)).float()


def _attention(op: q.QAttention, t: dict[str, Tensor], codes: Tensor) -> Tensor:
    """Attention on codes; every head's scores at once."""
    tokens = codes.shape[-2]
    query, key, value = codes.view(-1, tokens, 3, op.heads, op.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    bias = t["bias"][:, t["at"].long()[t["pattern"].long()]].transpose(0, 1) if op.groups else None
    if op.bits == FLOAT_BITS:
        mixed = heads.half_attention(query, key, value, t["S"], bias).transpose(1, 2).reshape(*codes.shape[:-1], -1)
        return exact.saturate(exact.fma(mixed, t["M"], t["B"]), op.out_bits)
    scores = exact.product(query, key.transpose(-1, -2), op.head_dim << (2 * op.bits - 2))
    if bias is not None:
        scores = (scores.view(-1, *bias.shape).double() + bias).view(scores.shape)
    below = (scores.amax(-1, keepdim=True) - scores).float()
    index = (below * t["S"].view(-1, 1, 1)).round().clamp(max=255).int()
    p = t["P"][index]
    total = p.sum(-1, keepdim=True, dtype=torch.int32).float()
    acc = exact.product(p, value, tokens * 255 << (op.bits - 1))
    merged = (acc.float() * exact.reciprocal(total)).transpose(1, 2).reshape(*codes.shape[:-1], -1)
    return exact.saturate(exact.fma(merged, t["M"], t["B"]), op.out_bits)


def _regroup(op: q.QRegroup, t: dict[str, Tensor], x: Tensor) -> Tensor:
    """Tokens picked by their number, one part after another, then the empty ones filled."""
    tokens = x.reshape(len(x), op.rows, -1)
    parts = []
    for index in t["index"].unbind(-1):
        picked = tokens.index_select(1, index.flatten().clamp(min=0).int()).view(len(x), *index.shape, -1)
        parts.append(torch.where((index < 0).unsqueeze(-1), t["fill"], picked))
    return torch.cat(parts, -1)
