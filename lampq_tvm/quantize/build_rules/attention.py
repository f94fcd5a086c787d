"""Softmax attention on codes: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.attention import Attention, AttentionPool
from lampq_tvm.quantize import constants, scores
from lampq_tvm.quantize.build_rules import CODES, HEADS, PAYLOAD
from lampq_tvm.quantize.build_rules.linear import product_codes
from lampq_tvm.quantize.builder import Builder, Wanted, no_rule
from lampq_tvm.quantize.operators.attention import QAttention, QAttentionPool
from lampq_tvm.quantizers.half import Float16
from lampq_tvm.quantizers.probabilities import STEPS, softmax_table
from lampq_tvm.quantizers.protocol import Quantizer
from lampq_tvm.quantizers.symmetric import SymmetricHeads

F64 = npt.NDArray[np.float64]


@CODES.register(Attention)
def attention(b: Builder, op: Attention, wanted: Wanted) -> str:
    """Codes of the mixed values, from codes of q, k and v."""
    scales = _head_scales(b, op, b.tokens(op.name))
    bias: dict[str, npt.NDArray[Any]] = {}
    if op.groups:
        real = b.model.tensors[f"{op.name}.bias"]
        if b.plan.float_attention:
            added: npt.NDArray[Any] = scores.exponent_bias(real)
        else:
            scales = scores.raised_scales(scales, op.scale)
            added = scores.score_bias(real, scales[0] * scales[1] * op.scale)
        bias = dict(zip(("bias", "at", "pattern"), scores.distinct(added), strict=True))
    source = b.model.op(op.inputs[0])
    rule = HEADS.get(type(source))
    if rule is None:
        raise no_rule(op, source)
    sizes, y = (op.heads, op.head_dim, b.plan.attention_of(op.name)), wanted.y
    made = QAttention(wanted.name, (rule(b, source, op, scales),), *sizes, y.encode, op.groups)
    return b.add(made, **_softmax(b, op, scales, y.grid), **bias, **y.tensors)


@CODES.register(AttentionPool)
def attention_pool(b: Builder, op: AttentionPool, wanted: Wanted) -> str:
    """Codes of the mixed values, from codes of k and v and of the queries, which no image changes."""
    kind, kv, y = b.plan.attention_of(op.name), b.linear_before(op, 0), wanted.y
    scales = _head_scales(b, op, b.tokens(kv.name))
    queries = Float16() if kind.is_float else SymmetricHeads(kind.bits, scales[0][:, None])
    codes = product_codes(b, kv, op, scales[1:])
    made = QAttentionPool(wanted.name, (codes,), op.heads, op.head_dim, kind, y.encode)
    query = queries.encode(b.model.tensors[f"{op.name}.query"])
    return b.add(made, query=query, **_softmax(b, op, scales, y.grid), **y.tensors)


def _head_scales(b: Builder, op: Attention | AttentionPool, tokens: int) -> F64:
    """Scales [3, heads] of q, k and v; ones where they stay float16."""
    kind = b.plan.attention_of(op.name)
    if kind.is_float:
        return np.ones((3, op.heads))
    largest = -kind.low
    constants.check_range(op.head_dim, largest, largest, op.name)
    constants.check_range(tokens, STEPS, largest, op.name)
    return b.calibration.attention[op.name][kind.bits].scale


def _softmax(b: Builder, op: Attention | AttentionPool, scales: F64, y: Quantizer) -> dict[str, npt.NDArray[Any]]:
    """Constants of the softmax and of what follows the values."""
    found: dict[str, npt.NDArray[Any]] = {}
    kind = b.plan.attention_of(op.name)
    if kind.is_float:
        found["S"] = constants.exponent_scale(op.heads, op.scale)
    else:
        found["S"] = constants.score_scale(scales[0], scales[1], op.scale)
        found["P"] = softmax_table(b.calibration.probability(op.name, b.plan.softmax_of(op.name), kind.bits))
    found["M"] = np.repeat(scales[2] / y.decoder.scale, op.head_dim).astype(np.float32)
    found["B"] = np.full(op.heads * op.head_dim, y.decoder.zero, np.float32)
    return found


@PAYLOAD.register(Attention)
def attention_bytes(model: ImportedModel, op: Attention, floats: Collection[str]) -> int:
    """Constants of the softmax, and at most what is added to the scores."""
    return _softmax_bytes(op, floats) + _bias_bytes(model, op)


@PAYLOAD.register(AttentionPool)
def pool_bytes(model: ImportedModel, op: AttentionPool, floats: Collection[str]) -> int:
    """Constants of the softmax, and the queries."""
    return _softmax_bytes(op, floats) + model.tensors[f"{op.name}.query"].size * (2 if "attention" in floats else 1)


def _softmax_bytes(op: Attention | AttentionPool, floats: Collection[str]) -> int:
    """P unless attention is float16, S of each head, M and B of each channel."""
    return (0 if "attention" in floats else 256) + 4 * op.heads + 8 * op.heads * op.head_dim


def _bias_bytes(model: ImportedModel, op: Attention) -> int:
    """Distinct entries of what is added to the scores, and which of them each pair of tokens takes.

    Rounding makes entries equal, never different, and equal places are stored once for all layers.
    """
    if not op.groups:
        return 0
    table, at, pattern = scores.distinct(model.tensors[f"{op.name}.bias"])
    return 4 * table.size + at.nbytes + pattern.nbytes
