"""Recognition of softmax attention, whole or as two matrix products, from any arrangement of q, k and v."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lampq_tvm.frontend.abstract import KNOWN, Elements, Scores, Turned, Unit
from lampq_tvm.frontend.rules import RULES
from lampq_tvm.frontend.rules.linear import matmul_constant
from lampq_tvm.frontend.trace import Base, Trace, parent
from lampq_tvm.network.model import Attention, AttentionPool, Linear, Rotary, UnitHeads

OPERANDS = (Elements, Unit, Turned)


@RULES.register("scaled_dot_product_attention")
def scaled_dot_product_attention(
    trace: Trace,
    q: Any,
    k: Any,
    v: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Elements:
    """torch's fused attention."""
    if isinstance(attn_mask, KNOWN):
        trace.refuse("a mask or bias of the attention scores that is computed from the image")
    if is_causal or enable_gqa or dropout_p:
        trace.refuse("causal, grouped or dropped-out attention")
    if not isinstance(q, (*OPERANDS, Tensor)) or not isinstance(k, OPERANDS) or not isinstance(v, Elements):
        trace.refuse("attention of these values")
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = Scores(q, k, factor, True, q.shape[:-2])
    if attn_mask is not None:
        mask = torch.zeros(attn_mask.shape).masked_fill(~attn_mask, -math.inf) if attn_mask.dtype is torch.bool else attn_mask
        scores = replace(scores, bias=mask.to(torch.float32).expand(scores.shape))
    return _attention(trace, scores, v)


@RULES.register("_scaled_dot_product_flash_attention_for_cpu")
def flash_attention(
    trace: Trace, q: Any, k: Any, v: Any, dropout: float = 0.0, causal: bool = False, **options: Any
) -> list[Any]:
    """The form that decompositions leave on CPU, which also returns the log-sum-exp."""
    return [scaled_dot_product_attention(trace, q, k, v, dropout_p=dropout, is_causal=causal, **options), None]


@RULES.register("mm", "bmm", "matmul")
def matmul(trace: Trace, a: Any, b: Any) -> Any:
    """A linear layer, q k^T, or probabilities times v."""
    if not isinstance(b, KNOWN):
        return matmul_constant(trace, a, b)
    if isinstance(a, Scores) and a.softmax and isinstance(b, Elements):
        return _attention(trace, a, b)
    if isinstance(a, (*OPERANDS, Tensor)) and isinstance(b, OPERANDS):
        k = b.moved(lambda t: t.transpose(-1, -2))
        return Scores(a, k, 1.0, False, tuple(a.shape[:-2]))
    return trace.refuse("a matrix product of these computed values")


@RULES.register("softmax", "_softmax", "_safe_softmax")
def softmax(trace: Trace, x: Any, dim: int, *unused: Any) -> Scores:
    """Softmax over the keys."""
    if not isinstance(x, Scores) or x.softmax:
        trace.refuse("a softmax outside attention")
    if dim not in (-1, len(x.shape) - 1):
        trace.refuse("a softmax over another axis than the keys")
    return replace(x, softmax=True)


@RULES.register("eq")
def equal(trace: Trace, x: Any, value: Any) -> Tensor:
    """Scores that nothing was masked in are nowhere minus infinity; decompositions of torch's attention ask for that."""
    if not isinstance(x, Scores) or x.softmax or value != -math.inf:
        trace.refuse("a comparison of computed values")
    return torch.zeros(x.shape, dtype=torch.bool)


@RULES.register("where")
def where(trace: Trace, condition: Any, a: Any, b: Any) -> Any:
    """A choice that is the same everywhere."""
    if isinstance(condition, KNOWN) or not (condition.all() or not condition.any()):
        trace.refuse("a choice between computed values")
    return a if condition.all() else b


def _attention(trace: Trace, scores: Scores, v: Elements) -> Elements:
    """Emit Attention over a fused qkv value whose rows stand in the order q, k, v, each head-major."""
    if isinstance(scores.q, Tensor):
        return _pool(trace, scores.q, scores, v)
    operands = [_split(trace, x) for x in (scores.q, scores.k, v)]
    if _factor(trace, v) != 1.0:
        trace.refuse("a scaled v")
    (base, channels), *_ = operands
    heads, width = channels.shape
    if any(c.shape != channels.shape or b.shape[:-1] != base.shape[:-1] for b, c in operands):
        trace.refuse("attention with q, k and v of different sizes (grouped or cross attention)")
    factor = scores.factor * _factor(trace, scores.q) * _factor(trace, scores.k)
    biases = {} if scores.bias is None else {"bias": _bias(trace, scores.bias, base, heads)}
    qkv = _fused(trace, operands)
    name = parent(qkv.name)
    name = name if name != qkv.name else f"{name}.attention"
    source, scale = _changed(trace, qkv, scores, factor, (heads, width))
    groups = len(biases["bias"]) if biases else 0
    op = Attention(name, (source.name,), heads, width, scale, groups)
    made = trace.emit(op, (*base.shape[:-1], heads * width), **biases)
    shape = v.shape
    moved: Elements = made.elements.moved(lambda t: t.view(*t.shape[:-1], heads, width).transpose(-3, -2).reshape(shape))
    return moved


def _changed(trace: Trace, qkv: Base, scores: Scores, factor: float | Tensor, size: tuple[int, int]) -> tuple[Base, float]:
    """(what the attention reads: qkv, or what the model makes of q and k before; the factor of the scores)."""
    q, k = scores.q, scores.k
    if isinstance(q, Unit) and isinstance(k, Unit) and q.eps == k.eps:
        each = torch.as_tensor(factor, dtype=torch.float32)
        each = each.reshape(-1, size[0]) if each.ndim else each.expand(1, size[0])
        if torch.equal(each, each[:1].expand_as(each)):
            unit = UnitHeads(f"{qkv.name}.unit", (qkv.name,), *size, q.eps)
            return trace.emit(unit, qkv.shape, scale=each[0]), 1.0
    if isinstance(factor, Tensor):
        return trace.refuse("attention scores scaled head by head")
    if isinstance(q, Elements) and isinstance(k, Elements):
        return qkv, factor
    if isinstance(q, Turned) and isinstance(k, Turned):
        angles, others = _angles(q), _angles(k)
        if angles and others and all(torch.equal(a, b) for a, b in zip(angles, others, strict=True)):
            cos, sin, partner = angles
            rotary = Rotary(f"{qkv.name}.rotary", (qkv.name,), *size)
            return trace.emit(rotary, qkv.shape, cos=cos, sin=sin, partner=partner), factor
    return trace.refuse("q and k changed in different ways before their product")


def _angles(x: Turned) -> tuple[Tensor, Tensor, Tensor] | None:
    """(cos [T, head_dim], sin [T, head_dim], partner int32 [head_dim]) of a rotary embedding that all heads share."""
    cos, sin = (torch.as_tensor(part.scale).expand(x.shape).reshape(-1, *x.shape[-2:]) for part in (x.first, x.second))
    away = (x.second.ids - x.first.ids).reshape(-1, x.shape[-1])
    away = away[(sin != 0).reshape(away.shape).any(1)]
    if len(away) == 0 or not all(torch.equal(t, t[:1].expand_as(t)) for t in (cos, sin, away)):
        return None
    partner = torch.arange(x.shape[-1]) + away[0]
    inside = 0 <= int(partner.min()) <= int(partner.max()) < x.shape[-1]
    return (cos[0], sin[0], partner.to(torch.int32)) if inside else None


def _pool(trace: Trace, q: Tensor, scores: Scores, v: Elements) -> Elements:
    """Emit AttentionPool: queries [B, heads, L, head_dim] that no image changes."""
    operands = [_split(trace, x) for x in (scores.k, v)]
    (base, channels), (_, others) = operands
    heads, width = channels.shape
    plain = isinstance(scores.k, Elements) and scores.bias is None and not isinstance(scores.factor, Tensor)
    same = q.ndim == 4 and torch.equal(q, q[:1].expand_as(q)) and q.shape[1::2] == channels.shape == others.shape
    if not plain or not same or len(base.shape) != 3 or _factor(trace, v) != 1.0:
        trace.refuse("this attention of constant queries")
    factor = float(scores.factor) * _factor(trace, scores.k)
    kv = _fused(trace, operands)
    name = parent(kv.name)
    op = AttentionPool(name if name != kv.name else f"{name}.attention", (kv.name,), heads, width, factor)
    made = trace.emit(op, (base.shape[0], q.shape[2], heads * width), query=q[0])
    return Elements(made.elements.ids.view(*made.shape[:-1], heads, width).transpose(1, 2))


def _bias(trace: Trace, bias: Tensor, base: Base, heads: int) -> Tensor:
    """Bias of the scores [.., heads, T, T] as [groups, heads, T, T]: one group where all windows add the same."""
    tokens = base.shape[-2]
    groups = bias.reshape(base.shape[0], -1, heads, tokens, tokens)
    if not torch.equal(groups, groups[:1].expand_as(groups)):
        trace.refuse("a bias of the attention scores that differs between images")
    one = groups[0]
    return one[:1] if torch.equal(one, one[:1].expand_as(one)) else one


def _factor(trace: Trace, x: Elements | Unit | Turned) -> float:
    if not isinstance(x, Elements):
        return x.factor
    if x.offset is not None or isinstance(x.scale, Tensor):
        trace.refuse("q, k or v changed channel by channel between projection and scores")
    return x.scale


def _split(trace: Trace, x: Elements | Unit | Turned) -> tuple[Base, Tensor]:
    """The linear output that q, k or v is made of, and which of its channels each head takes: [heads, head_dim]."""
    base = trace.base_of(x.ids)
    if base is None or not isinstance(base.op, Linear):
        trace.refuse("attention whose q, k or v is not directly a linear layer's output")
    if len(base.shape) < 3:
        trace.refuse("attention over something else than [batch, tokens, channels]")
    tokens, width = base.shape[-2:]
    batch = torch.Size(base.shape[:-2]).numel()
    groups = x.ids.reshape(-1, *x.shape[-2:])
    if groups.shape[1] != tokens or len(groups) % batch:
        trace.refuse(f"attention among {groups.shape[1]} of {tokens} tokens")
    ids = groups.reshape(batch, -1, tokens, groups.shape[-1])
    channels = (ids[0, :, 0] - base.start) % width
    rows = torch.arange(batch * tokens).view(batch, 1, tokens, 1) * width + base.start
    if not torch.equal(ids, rows + channels[None, :, None]):
        trace.refuse("attention over tokens regrouped after the projection to q, k and v")
    return base, channels


def _fused(trace: Trace, operands: Sequence[tuple[Base, Tensor]]) -> Base:
    """One linear layer that gives q, k and v in order, made of one or several by picking rows of their weights."""
    bases = list(dict.fromkeys(base for base, _ in operands))
    first = bases[0].op
    wanted = torch.cat([channels.flatten() for _, channels in operands])
    in_order = len(bases) == 1 and torch.equal(wanted, torch.arange(bases[0].shape[-1]))
    if in_order:
        return bases[0]
    if first is None or any(b.op is None or b.op.inputs != first.inputs or trace.is_read(b) for b in bases):
        return trace.refuse("attention whose q, k and v read different values (cross attention)")
    fields = {}
    for field in ("weight", "bias"):
        rows = [trace.tensors[f"{base.name}.{field}"][channels.flatten()] for base, channels in operands]
        fields[field] = torch.cat(rows)
    for base in bases:
        base.alive = False
        trace.ops.remove(base.op)  # type: ignore[arg-type]  # every base here has one
        del trace.tensors[f"{base.name}.weight"], trace.tensors[f"{base.name}.bias"]
    name = first.name if len(bases) == 1 else f"{parent(first.name)}.qkv"
    return trace.emit(Linear(name, first.inputs, ""), (*bases[0].shape[:-1], len(wanted)), **fields)
