"""Runs an ImportedModel in float32 with torch: the differentiable reference of everything that is quantized later."""

from __future__ import annotations

import threading
import weakref
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network.model import (
    Activation,
    Attention,
    AttentionPool,
    AverageHeads,
    Gate,
    ImportedModel,
    InputSpec,
    LayerNorm,
    Linear,
    MeanTokens,
    Op,
    PatchEmbed,
    Regroup,
    Residual,
    Rotary,
    TakeToken,
    UnitHeads,
)

Replacement = Callable[[Op, tuple[Tensor, ...]], Tensor]
Observer = Callable[[Op, tuple[Tensor, ...], Tensor], None]

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
}

_CONVERTED: dict[int, dict[str, Tensor]] = {}
_CONVERTING = threading.Lock()


def model_tensors(model: ImportedModel) -> dict[str, Tensor]:
    """The model's tensors as torch tensors (sharing memory where they are writable), converted once per model."""
    key = id(model)
    with _CONVERTING:
        if key not in _CONVERTED:
            arrays = {k: np.ascontiguousarray(v) for k, v in model.tensors.items()}
            _CONVERTED[key] = {k: torch.from_numpy(v if v.flags.writeable else v.copy()) for k, v in arrays.items()}
            weakref.finalize(model, _CONVERTED.pop, key, None)
        return _CONVERTED[key]


def normalize(images: np.ndarray, spec: InputSpec) -> Tensor:
    """Pixels to the network's input: (p / 255 - mean) / std.

    Args:
        images: uint8 [B, C, H, W] at the model's size.
        spec: gives mean and std per channel, for pixels in 0..1.

    Returns:
        float32 [B, C, H, W].
    """
    mean = torch.tensor(spec.mean, dtype=torch.float32).view(-1, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float32).view(-1, 1, 1)
    return (torch.from_numpy(np.array(images)).to(torch.float32) / 255 - mean) / std


def run_float(
    model: ImportedModel,
    images: Tensor,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    replace: Mapping[str, Replacement] | None = None,
    observe: Observer | None = None,
    values: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Run the network; gradients flow through every operator.

    Operators that the output does not need, given `values`, are not run, and a value is freed after its last use.

    Args:
        model: the network.
        images: float32 [B, C, H, W], normalized.
        tensors: used instead of the model's own, by name (others stay).
        replace: operator name -> function of (operator, inputs) that computes its output instead.
        observe: called with (operator, inputs, output) after every operator that runs.
        values: precomputed values by operator name; those operators are not run.

    Returns:
        The output value: logits [B, classes], or features [B, C] of a model without a head.
    """
    given = {"image": images, **(values or {})}
    return run_to(model, given, (model.output,), tensors=tensors, replace=replace, observe=observe)[model.output]


def run_to(
    model: ImportedModel,
    given: Mapping[str, Tensor],
    wanted: Collection[str],
    *,
    tensors: Mapping[str, Tensor] | None = None,
    replace: Mapping[str, Replacement] | None = None,
    observe: Observer | None = None,
) -> dict[str, Tensor]:
    """Run the network from some of its values to others; arguments not named here as in `run_float`.

    Args:
        given: values by operator name (`image` for the network's input): all that the wanted ones depend on.
        wanted: names of values.
    """
    known = model_tensors(model)
    weights = ChainMap(dict(tensors), known) if tensors else known
    live = dict(given)
    needed = _needed(model, set(live), set(wanted))
    last = {name: op.name for op in needed for name in op.inputs}
    for op in needed:
        inputs = tuple(live[name] for name in op.inputs)
        function = (replace or {}).get(op.name)
        live[op.name] = function(op, inputs) if function else run_op(op, inputs, weights)
        if observe:
            observe(op, inputs, live[op.name])
        for name in set(op.inputs):
            if last[name] == op.name and name not in wanted:
                del live[name]
    return {name: live[name] for name in wanted}


def _needed(model: ImportedModel, given: set[str], ends: set[str]) -> list[Op]:
    """Operators on the way from the given values to some others, in execution order."""
    wanted, ops = ends - given, []
    for op in reversed(model.ops):
        if op.name in wanted:
            ops.append(op)
            wanted |= set(op.inputs) - given
    return ops[::-1]


def run_op(op: Op, inputs: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
    """One operator in float (shapes as in `network.model`).

    Raises:
        UnsupportedError: the operator is none of `network.model`.
    """
    x = inputs[0]
    match op:
        case PatchEmbed():
            return _patch_embed(op, x, tensors)
        case LayerNorm():
            return F.layer_norm(x, x.shape[-1:], tensors[f"{op.name}.gamma"], tensors[f"{op.name}.beta"], op.eps)
        case Linear():
            return F.linear(x, tensors[f"{op.name}.weight"], tensors[f"{op.name}.bias"])
        case Attention():
            return _attention(op, x, tensors)
        case AttentionPool():
            k, v = x.view(*x.shape[:-1], 2, op.heads, op.head_dim).permute(2, 0, 3, 1, 4)
            query = tensors[f"{op.name}.query"].expand(len(x), -1, -1, -1)
            return F.scaled_dot_product_attention(query, k, v, scale=op.scale).transpose(1, 2).flatten(2)
        case UnitHeads():
            return unit_heads(op, x, tensors[f"{op.name}.scale"])
        case Rotary():
            return _rotary(op, x, tensors)
        case Gate():
            gate = UNARY[op.kind](x[..., op.gate_at : op.gate_at + op.width])
            return gate * inputs[1][..., op.value_at : op.value_at + op.width]
        case Activation():
            return UNARY[op.kind](x)
        case Residual():
            return x + inputs[1] * tensors[f"{op.name}.scale"]
        case Regroup():
            return _regroup(op, x, tensors[f"{op.name}.index"].long())
        case TakeToken():
            return x[:, op.index]
        case MeanTokens():
            return x[:, op.start :].mean(dim=1)
        case AverageHeads():
            return (x + inputs[1]) / 2
    raise UnsupportedError(f"no float rule for operator {type(op).__name__}", where=op.name)


def _patch_embed(op: PatchEmbed, image: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """Image [B, C, H, W] to stream [B, T, N]: patches in row-major order plus positions, prefix rows in front."""
    grid = F.conv2d(image, tensors[f"{op.name}.weight"], tensors[f"{op.name}.bias"], stride=op.patch)
    tokens = grid.flatten(2).transpose(1, 2) + tensors[f"{op.name}.pos"]
    prefix = tensors[f"{op.name}.prefix"]
    return torch.cat([prefix.expand(len(image), -1, -1), tokens], dim=1)


def _attention(op: Attention, qkv: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """Fused qkv [B, (windows,) T, 3 * heads * head_dim] to [B, (windows,) T, heads * head_dim]."""
    length = qkv.shape[-2]
    q, k, v = qkv.view(-1, max(op.groups, 1), length, 3, op.heads, op.head_dim).permute(3, 0, 1, 4, 2, 5)
    bias = tensors[f"{op.name}.bias"] if op.groups else None
    mixed = F.scaled_dot_product_attention(q, k, v, bias, scale=op.scale)
    return mixed.transpose(2, 3).reshape(*qkv.shape[:-1], op.heads * op.head_dim)


def _regroup(op: Regroup, x: Tensor, index: Tensor) -> Tensor:
    """Tokens [B, .., C], `op.rows` per image, to [B, (windows,) T', parts * C]."""
    taken = x.reshape(len(x), op.rows, x.shape[-1])[:, index.clamp(min=0)]
    if bool((index < 0).any()):
        taken = taken * (index >= 0).unsqueeze(-1)
    return taken.flatten(-2)


def unit_heads(op: UnitHeads, qkv: Tensor, scale: Tensor) -> Tensor:
    """q and k of [.., 3 * heads * head_dim] over their lengths, q times its head's scale."""
    q, k, v = qkv.view(*qkv.shape[:-1], 3, op.heads, op.head_dim).unbind(-3)
    q, k = F.normalize(q, dim=-1, eps=op.eps) * scale[:, None], F.normalize(k, dim=-1, eps=op.eps)
    return torch.stack([q, k, v], -3).flatten(-3)


def _rotary(op: Rotary, qkv: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """q and k of [.., T, 3 * heads * head_dim] turned by their token's angles."""
    parts = qkv.view(*qkv.shape[:-1], 3, op.heads, op.head_dim)
    turning, v = parts[..., :2, :, :], parts[..., 2:, :, :]
    cos, sin = (tensors[f"{op.name}.{k}"][:, None, None] for k in ("cos", "sin"))
    turned = turning * cos + turning[..., tensors[f"{op.name}.partner"].long()] * sin
    return torch.cat([turned, v], -3).flatten(-3)
