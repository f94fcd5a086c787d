"""Runs an ImportedModel in float32 with torch: the differentiable reference of everything that is quantized later."""

from __future__ import annotations

import weakref
from collections import ChainMap
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.model import (
    Activation,
    Attention,
    AverageHeads,
    ImportedModel,
    InputSpec,
    LayerNorm,
    Linear,
    MeanTokens,
    Op,
    PatchEmbed,
    Residual,
    TakeToken,
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


def model_tensors(model: ImportedModel) -> dict[str, Tensor]:
    """The model's tensors as torch tensors (sharing memory where they are writable), converted once per model."""
    key = id(model)
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
    known = model_tensors(model)
    weights = ChainMap(dict(tensors), known) if tensors else known
    live: dict[str, Tensor] = {"image": images, **(values or {})}
    needed = _needed(model, set(live))
    last = {name: op.name for op in needed for name in op.inputs}
    for op in needed:
        inputs = tuple(live[name] for name in op.inputs)
        function = (replace or {}).get(op.name)
        live[op.name] = function(op, inputs) if function else run_op(op, inputs, weights)
        if observe:
            observe(op, inputs, live[op.name])
        for name in set(op.inputs):
            if last[name] == op.name and name != model.output:
                del live[name]
    return live[model.output]


def _needed(model: ImportedModel, given: set[str]) -> list[Op]:
    """Operators on the way from the given values to the output, in execution order."""
    wanted, ops = {model.output} - given, []
    for op in reversed(model.ops):
        if op.name in wanted:
            ops.append(op)
            wanted |= set(op.inputs) - given
    return ops[::-1]


def run_op(op: Op, inputs: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
    """One operator in float (shapes as in `frontend.model`).

    Raises:
        UnsupportedError: the operator is none of `frontend.model`.
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
            return _attention(op, x)
        case Activation():
            return UNARY[op.kind](x)
        case Residual():
            return x + inputs[1] * tensors[f"{op.name}.scale"]
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


def _attention(op: Attention, qkv: Tensor) -> Tensor:
    """Fused qkv [B, T, 3 * heads * head_dim] to [B, T, heads * head_dim]."""
    batch, length, _ = qkv.shape
    q, k, v = qkv.view(batch, length, 3, op.heads, op.head_dim).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, scale=op.scale)
    return mixed.transpose(1, 2).reshape(batch, length, op.heads * op.head_dim)
