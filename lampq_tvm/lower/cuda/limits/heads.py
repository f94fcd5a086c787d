"""Heads of attention: whole words of codes, pooling heads of so many threads, scores in shared memory."""

from __future__ import annotations

from lampq_tvm.lower.cuda.limits import HEAD_STEP, LARGEST_POOLED, MEMORY, SIZES
from lampq_tvm.network.model import Attention, AttentionPool, ImportedModel, Rotary, UnitHeads


@SIZES.register(Attention, UnitHeads, Rotary)
def whole_words(op: Attention | AttentionPool | UnitHeads | Rotary) -> str | None:
    """Channels of a head."""
    return f"attention heads of {op.head_dim} channels" if op.head_dim % HEAD_STEP else None


@SIZES.register(AttentionPool)
def pooled(op: AttentionPool) -> str | None:
    """Channels of a head, and at most so many."""
    return whole_words(op) or (f"pooling heads of {op.head_dim} channels" if op.head_dim > LARGEST_POOLED else None)


@MEMORY.register(Attention)
def scores_fit(model: ImportedModel, op: Attention, arch: str, half: bool) -> None:
    """Attention over so many tokens; with windows, over those of a window."""
    from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape, with_warps
    from lampq_tvm.kernels.cuda.fits import check_attention

    shape = with_warps(CudaAttentionShape(1, model.shapes[op.name][-2], op.heads, op.head_dim))
    check_attention(shape, arch, half=half, where=op.name)
