"""Rotations folded into weights (QuaRot, SpinQuant, GLF-Q): the same function, its channels spread over each other.

The residual stream: norms lose their mean, which the layers that write the stream give up instead, and their factors, which the
layers behind take; what is left, x / sqrt(mean(x^2) + eps), commutes with a rotation R of the channels, so writers become
R^T W and readers W R. Per head, v and the projection behind it take R_3, q and k take R_2, which no score sees. Streams that
more than norms read or write (Swin's merging of patches) keep their norms, as published.

`rotate` turns everything. `rotate_chosen` turns the stream, and each attention's values, where that lowers
|Q(W R) - W R|^2 + mean |Q(X R) - X R|^2 at four bits over the layers that read them (RoSTE's rule, 2025; LRQ-DiT's is
like it); q and k, which nothing but attention reads, are left alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import Attention, ImportedModel, Linear
from lampq_tvm.network.seen import Seen
from lampq_tvm.rewrites.channels import linear_readers
from lampq_tvm.rewrites.hadamard import rotation
from lampq_tvm.rewrites.rewrite import REWRITES
from lampq_tvm.rewrites.stream import Stream, residual_stream

F64 = npt.NDArray[np.float64]
Tensors = dict[str, npt.NDArray[np.float32]]
BITS, ROWS = 4, 128  # of the choice
LEAST = 1e-6  # of a norm's largest factor: a channel below it shows nothing of the stream


@REWRITES.register("rotate")
def rotate(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen | None]:
    """(the same function with every stream and every head turned, None: its values are others)."""
    stream, tensors = residual_stream(model), dict(model.tensors)
    if stream is not None:
        model = turn_stream(model, tensors, stream)
    for attention in turnable(model):
        turn_values(model, tensors, attention)
        turn_scores(model, tensors, attention)
    return dataclasses.replace(model, tensors=tensors), None


@REWRITES.register("rotate_chosen")
def rotate_chosen(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen | None]:
    """(the same function, turned where that rounds better, None; as it was where nothing does)."""
    stream, tensors = residual_stream(model), dict(model.tensors)
    wanted = [attention for attention in turnable(model) if values_gain(model, seen, attention)]
    if stream is not None and not stream_gains(model, seen, stream):
        stream = None
    if stream is None and not wanted:
        return model, seen
    if stream is not None:
        model = turn_stream(model, tensors, stream)
    for attention in wanted:
        turn_values(model, tensors, attention)
    return dataclasses.replace(model, tensors=tensors), None


def turn_stream(model: ImportedModel, tensors: Tensors, stream: Stream) -> ImportedModel:
    """The model with norms that have no mean; `tensors` are changed to match."""
    for norm, readers in stream.norms.items():
        gamma, beta = (tensors[f"{norm}.{k}"].astype(np.float64) for k in ("gamma", "beta"))
        for name in readers:
            weight = tensors[f"{name}.weight"].astype(np.float64)
            tensors[f"{name}.bias"] = _f32(tensors[f"{name}.bias"] + weight @ beta)
            tensors[f"{name}.weight"] = _f32(weight * gamma @ rotation(len(gamma)))
        tensors[f"{norm}.gamma"], tensors[f"{norm}.beta"] = _f32(np.ones_like(gamma)), _f32(np.zeros_like(beta))
    for name in stream.patches:
        for field in ("pos", "prefix"):
            tensors[f"{name}.{field}"] = _f32(_turned(tensors[f"{name}.{field}"].astype(np.float64)))
        _turn_outputs(tensors, name)
    for total, branch in stream.sums.items():
        scale = tensors[f"{total}.scale"].astype(np.float64)
        tensors[f"{total}.scale"] = _f32(np.ones_like(scale))
        _turn_outputs(tensors, branch, scale)
    ops = tuple(dataclasses.replace(op, centred=False) if op.name in stream.norms else op for op in model.ops)  # type: ignore[call-arg]
    return dataclasses.replace(model, ops=ops)


def _turn_outputs(tensors: Tensors, layer: str, scale: F64 | float = 1.0) -> None:
    """A layer's output, times `scale` [C], without its mean and turned."""
    weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"].astype(np.float64)
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    tensors[f"{layer}.weight"] = _f32(_turned(flat.T * scale).T.reshape(weight.shape))
    tensors[f"{layer}.bias"] = _f32(_turned(bias * scale))


def _turned(x: F64) -> F64:
    """Rows [.., C] of the stream without their mean, times R."""
    return np.asarray((x - x.mean(-1, keepdims=True)) @ rotation(x.shape[-1]))


def turnable(model: ImportedModel) -> list[Attention]:
    """Attentions between a fused layer that they alone read and layers that alone read them."""
    found = [op for op in model.ops if isinstance(op, Attention)]
    return [op for op in found if _source(model, op) is not None and linear_readers(model, op.name)]


def _source(model: ImportedModel, op: Attention) -> str | None:
    source = model.op(op.inputs[0])
    return source.name if isinstance(source, Linear) and model.consumers(source.name) == [op] else None


def turn_values(model: ImportedModel, tensors: Tensors, op: Attention) -> None:
    """v of every head times R_3, and the layers behind to match."""
    R, source = rotation(op.head_dim, 3), _source(model, op)
    assert source is not None
    _turn_heads(tensors, source, op, 2, R)
    for name in linear_readers(model, op.name):
        weight = tensors[f"{name}.weight"].astype(np.float64)
        tensors[f"{name}.weight"] = _f32(_by_head(weight, op.head_dim, R))


def turn_scores(model: ImportedModel, tensors: Tensors, op: Attention) -> None:
    """q and k of every head times R_2: their products stay."""
    source = _source(model, op)
    assert source is not None
    for part in (0, 1):
        _turn_heads(tensors, source, op, part, rotation(op.head_dim, 2))


def _turn_heads(tensors: Tensors, source: str, op: Attention, part: int, R: F64) -> None:
    """Output channels of q, k or v (part 0, 1, 2) of a fused layer, head by head times R."""
    width = op.heads * op.head_dim
    rows = slice(part * width, (part + 1) * width)
    for field in ("weight", "bias"):
        tensor = tensors[f"{source}.{field}"].astype(np.float64)
        tensor[rows] = _by_head(tensor[rows].T, op.head_dim, R).T
        tensors[f"{source}.{field}"] = _f32(tensor)


def _by_head(x: F64, head_dim: int, R: F64) -> F64:
    """[.., heads * head_dim] with each head's channels times R."""
    return np.asarray((x.reshape(*x.shape[:-1], -1, head_dim) @ R).reshape(x.shape))


def stream_gains(model: ImportedModel, seen: Seen, stream: Stream) -> bool:
    """Whether the layers that read the stream's norms round better when it is turned."""
    before, after = 0.0, 0.0
    for norm, readers in stream.norms.items():
        gamma, beta = (model.tensors[f"{norm}.{k}"].astype(np.float64) for k in ("gamma", "beta"))
        visible = np.abs(gamma) > LEAST * np.abs(gamma).max()
        for name in readers:
            weight, rows = model.tensors[f"{name}.weight"].astype(np.float64), seen.rows[name][:ROWS].astype(np.float64)
            plain = np.where(visible, rows - beta, 0) / np.where(visible, gamma, 1)
            R = rotation(len(gamma))
            before, after = before + rounding_error(weight, rows), after + rounding_error(weight * gamma @ R, plain @ R)
    return after < before


def values_gain(model: ImportedModel, seen: Seen, op: Attention) -> bool:
    """Whether the layers that read an attention round better when its values are turned."""
    R, before, after = rotation(op.head_dim, 3), 0.0, 0.0
    for name in linear_readers(model, op.name):
        weight, rows = model.tensors[f"{name}.weight"].astype(np.float64), seen.rows[name][:ROWS].astype(np.float64)
        before += rounding_error(weight, rows)
        after += rounding_error(_by_head(weight, op.head_dim, R), _by_head(rows, op.head_dim, R))
    return after < before


def rounding_error(weight: F64, rows: F64) -> float:
    """|Q(W) - W|^2 + mean over rows of |Q(X) - X|^2 at four bits: W [N, K] by rows, X [R, K] as a whole."""
    top = (1 << (BITS - 1)) - 1
    scale = np.maximum(np.abs(weight).max(1, keepdims=True), 1e-12) / top
    lost = float(np.square(np.rint(weight / scale) * scale - weight).sum())
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
    step = max(high - low, 1e-12) / ((1 << BITS) - 1)
    return lost + float(np.square(np.rint(rows / step) * step - rows).sum()) / len(rows)


def _f32(x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    return np.asarray(x, np.float64).astype(np.float32)
