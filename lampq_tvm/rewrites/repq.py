"""Reparameterization: channels of a layer's input are brought to one common range without changing the function.

After RepQ-ViT (Li et al., ICCV 2023), in a form that no bit width enters: channel c of the input x becomes
x' = (x - centre_c) / r_c, which LayerNorm's gamma and beta absorb, and the reading layers take W' = W r, b' = b + W centre.
The input of the attention's projection is treated the same way: there the rows of v in the qkv layer absorb the change,
since a softmax-weighted mean commutes with it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import Attention, ImportedModel, LayerNorm, Linear, MeanTokens, Op, Regroup, TakeToken
from lampq_tvm.network.seen import Seen
from lampq_tvm.rewrites.rewrite import REWRITES

F64 = npt.NDArray[np.float64]
SMALLEST = 1e-2  # of the mean range: channels that hardly move are not blown up


@REWRITES.register("repq")
def reparameterize(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen]:
    """(the same function with equalized layer inputs, its ranges and samples). Neither argument is changed."""
    tensors = dict(model.tensors)
    seen = dataclasses.replace(seen, low=dict(seen.low), high=dict(seen.high), rows=dict(seen.rows))
    for op in model.ops:
        readers = linear_readers(model, op.name)
        if isinstance(op, LayerNorm) and readers:
            centre, r = channel_map(seen, readers)
            tensors[f"{op.name}.gamma"] = _f32(tensors[f"{op.name}.gamma"] / r)
            tensors[f"{op.name}.beta"] = _f32((tensors[f"{op.name}.beta"] - centre) / r)
            _change_readers(tensors, seen, readers, centre, r)
        elif isinstance(op, Attention) and readers and isinstance(source := model.op(op.inputs[0]), Linear):
            if model.consumers(source.name) != [op]:
                continue
            centre, r = channel_map(seen, readers)
            _change_values(tensors, seen, op, source.name, centre, r)
            _change_readers(tensors, seen, readers, centre, r)
    return dataclasses.replace(model, tensors=tensors), seen


def linear_readers(model: ImportedModel, name: str) -> list[str]:
    """Layers that read the value `name`, also through the choice, order or mean of tokens; none if anything else reads it."""
    found: list[str] = []
    for op in model.consumers(name):
        passes: list[Op] = [op] if isinstance(op, TakeToken | MeanTokens) or _keeps_channels(model, op) else []
        more = [op.name] if isinstance(op, Linear) else [r for p in passes for r in linear_readers(model, p.name)]
        if not more:
            return []
        found += more
    return [] if name in model.outputs else found


def _keeps_channels(model: ImportedModel, op: Op) -> bool:
    """Whether an operator moves whole tokens only, and adds no zeros, which the change would turn into something else."""
    if not isinstance(op, Regroup):
        return False
    index = model.tensors[f"{op.name}.index"]
    return index.shape[-1] == 1 and bool((index >= 0).all())


def channel_map(seen: Seen, readers: list[str]) -> tuple[F64, F64]:
    """(centre [K], r [K]) that bring every channel to the mean range around zero."""
    low = np.min([seen.low[name] for name in readers], axis=0).astype(np.float64)
    high = np.max([seen.high[name] for name in readers], axis=0).astype(np.float64)
    mean = max(float((high - low).mean()), 1e-12)
    return (low + high) / 2, np.maximum((high - low) / mean, SMALLEST)


def _change_readers(tensors: dict[str, npt.NDArray[np.float32]], seen: Seen, readers: list[str], centre: F64, r: F64) -> None:
    """Fold the inverse change into the reading layers, and change their ranges and samples."""
    for name in readers:
        weight = tensors[f"{name}.weight"].astype(np.float64)
        tensors[f"{name}.weight"] = _f32(weight * r)
        tensors[f"{name}.bias"] = _f32(tensors[f"{name}.bias"] + (weight * centre).sum(1))
        for group in (seen.low, seen.high, seen.rows):
            group[name] = _f32((group[name] - centre) / r)


def _change_values(
    tensors: dict[str, npt.NDArray[np.float32]], seen: Seen, op: Attention, qkv: str, centre: F64, r: F64
) -> None:
    """Fold the change of an attention's output into the rows of v, and change the range of v."""
    width = op.heads * op.head_dim
    weight, bias = tensors[f"{qkv}.weight"].astype(np.float64), tensors[f"{qkv}.bias"].astype(np.float64)
    weight[2 * width :] /= r[:, None]
    bias[2 * width :] = (bias[2 * width :] - centre) / r
    tensors[f"{qkv}.weight"], tensors[f"{qkv}.bias"] = _f32(weight), _f32(bias)
    for group in (seen.low, seen.high):
        v = (group[op.name][2 * width :] - centre) / r
        group[op.name] = np.concatenate([group[op.name][: 2 * width], _f32(v)])


def _f32(x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    return np.asarray(x, np.float64).astype(np.float32)
