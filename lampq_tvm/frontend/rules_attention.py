"""Recognition of softmax attention, whole or as two matrix products, from any arrangement of q, k and v."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lampq_tvm.frontend.abstract import KNOWN, Elements, Scores
from lampq_tvm.frontend.model import Attention, Linear
from lampq_tvm.frontend.refusals import POOLING, POSITION_BIAS
from lampq_tvm.frontend.rules_linear import matmul_constant
from lampq_tvm.frontend.trace import Base, Trace, parent


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
    if attn_mask is not None:
        trace.refuse(POSITION_BIAS)
    if is_causal or enable_gqa or dropout_p:
        trace.refuse("causal, grouped or dropped-out attention")
    if not all(isinstance(x, Elements) for x in (q, k, v)):
        trace.refuse(POOLING)
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return _attention(trace, Scores(q, k, factor, True, q.shape[:-2]), v)


def flash_attention(
    trace: Trace, q: Any, k: Any, v: Any, dropout: float = 0.0, causal: bool = False, **options: Any
) -> list[Any]:
    """The form that decompositions leave on CPU, which also returns the log-sum-exp."""
    return [scaled_dot_product_attention(trace, q, k, v, dropout_p=dropout, is_causal=causal, **options), None]


def matmul(trace: Trace, a: Any, b: Any) -> Any:
    """A linear layer, q k^T, or probabilities times v."""
    if not isinstance(b, KNOWN):
        return matmul_constant(trace, a, b)
    if isinstance(a, Scores) and a.softmax and isinstance(b, Elements):
        return _attention(trace, a, b)
    if isinstance(a, Elements) and isinstance(b, Elements):
        k: Elements = b.moved(lambda t: t.transpose(-1, -2))
        return Scores(a, k, 1.0, False, a.shape[:-2])
    if not isinstance(a, KNOWN):
        return trace.refuse(POOLING)
    return trace.refuse("a matrix product of these computed values")


def softmax(trace: Trace, x: Any, dim: int, *unused: Any) -> Scores:
    """Softmax over the keys."""
    if not isinstance(x, Scores) or x.softmax:
        trace.refuse("a softmax outside attention")
    if dim not in (-1, len(x.shape) - 1):
        trace.refuse("a softmax over another axis than the keys")
    return Scores(x.q, x.k, x.factor, True, x.leading)


def equal(trace: Trace, x: Any, value: Any) -> Tensor:
    """Scores that nothing was masked in are nowhere minus infinity; decompositions of torch's attention ask for that."""
    if not isinstance(x, Scores) or x.softmax or value != -math.inf:
        trace.refuse("a comparison of computed values")
    return torch.zeros(x.shape, dtype=torch.bool)


def full_like(trace: Trace, x: Any, value: float, **options: Any) -> Tensor:
    """A constant of the shape of a computed value."""
    return torch.full(x.shape, value)


def where(trace: Trace, condition: Any, a: Any, b: Any) -> Any:
    """A choice that is the same everywhere."""
    if isinstance(condition, KNOWN) or not (condition.all() or not condition.any()):
        trace.refuse("a choice between computed values")
    return a if condition.all() else b


def _attention(trace: Trace, scores: Scores, v: Elements) -> Elements:
    """Emit Attention over a fused qkv value whose rows stand in the order q, k, v, each head-major."""
    operands = [_split(trace, x) for x in (scores.q, scores.k, v)]
    factor = scores.factor * _factor(trace, scores.q) * _factor(trace, scores.k)
    if _factor(trace, v) != 1.0:
        trace.refuse("a scaled v")
    (base, channels), *_ = operands
    heads, width = channels.shape
    if any(c.shape != channels.shape or b.shape[:-1] != base.shape[:-1] for b, c in operands):
        trace.refuse("attention with q, k and v of different sizes (grouped or cross attention)")
    qkv = _fused(trace, operands)
    name = parent(qkv.name)
    op = Attention(name if name != qkv.name else f"{name}.attention", (qkv.name,), heads, width, factor)
    made = trace.emit(op, (*base.shape[:-1], heads * width))
    shape = v.shape
    moved: Elements = made.elements.moved(lambda t: t.view(*t.shape[:-1], heads, width).transpose(1, 2).reshape(shape))
    return moved


def _factor(trace: Trace, x: Elements) -> float:
    if x.offset is not None or isinstance(x.scale, Tensor):
        trace.refuse("q, k or v changed between projection and scores (rotary embedding or similar)")
    return x.scale


def _split(trace: Trace, x: Elements) -> tuple[Base, Tensor]:
    """The linear output that q, k or v is made of, and which of its channels each head takes: [heads, head_dim]."""
    base = trace.base_of(x.ids)
    if base is None or not isinstance(base.op, Linear):
        trace.refuse("attention whose q, k or v is not directly a linear layer's output")
    if len(base.shape) != 3:
        trace.refuse("attention over something else than [batch, tokens, channels]")
    batch, tokens, width = base.shape
    groups = x.ids.reshape(-1, *x.shape[-2:])
    if groups.shape[1] != tokens or len(groups) % batch:
        trace.refuse(f"attention inside windows of {groups.shape[1]} tokens")
    ids = groups.reshape(batch, -1, tokens, groups.shape[-1])
    channels = (ids[0, :, 0] - base.start) % width
    rows = torch.arange(batch * tokens).view(batch, 1, tokens, 1) * width + base.start
    if not torch.equal(ids, rows + channels[None, :, None]):
        trace.refuse("attention over regrouped tokens (windows)")
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
