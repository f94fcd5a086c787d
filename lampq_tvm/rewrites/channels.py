"""Changes of a layer's input channel by channel, x' = (x - centre) / r, that leave the function as it is.

What makes x absorbs the change: LayerNorm's gamma and beta, or, for the input of an attention's projection, the rows of v in
the layer before (a softmax-weighted mean commutes with it). The layers that read x take W' = W r, b' = b + W centre.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import Attention, ImportedModel, LayerNorm, Linear, MeanTokens, Op, Regroup, TakeToken
from lampq_tvm.network.seen import Seen

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Input:
    """What layers read.

    Attributes:
        low, high: smallest and largest value of each channel, [K].
        rows: [R, K] samples.
        weights: [N, K] of the layers that read it, one below the other.
    """

    low: F64
    high: F64
    rows: F32
    weights: F64


Map = Callable[[Input], tuple[F64, F64]]  # (centre [K], r [K], positive)


def change_channels(model: ImportedModel, seen: Seen, find: Map, *, values: bool = True) -> tuple[ImportedModel, Seen]:
    """(the same function with changed inputs, what was seen of them). Neither argument is changed.

    Args:
        find: the change of an input.
        values: whether attentions' outputs are changed too.
    """
    tensors = dict(model.tensors)
    seen = dataclasses.replace(seen, low=dict(seen.low), high=dict(seen.high), rows=dict(seen.rows))
    for op in model.ops:
        readers = linear_readers(model, op.name)
        if isinstance(op, LayerNorm) and readers:
            centre, r = find(_input(tensors, seen, readers))
            tensors[f"{op.name}.gamma"] = _f32(tensors[f"{op.name}.gamma"] / r)
            tensors[f"{op.name}.beta"] = _f32((tensors[f"{op.name}.beta"] - centre) / r)
            _change_readers(tensors, seen, readers, centre, r)
        elif values and isinstance(op, Attention) and readers and isinstance(source := model.op(op.inputs[0]), Linear):
            if model.consumers(source.name) != [op]:
                continue
            centre, r = find(_input(tensors, seen, readers))
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


def _input(tensors: dict[str, F32], seen: Seen, readers: list[str]) -> Input:
    low = np.min([seen.low[name] for name in readers], axis=0).astype(np.float64)
    high = np.max([seen.high[name] for name in readers], axis=0).astype(np.float64)
    weights = np.concatenate([tensors[f"{name}.weight"].astype(np.float64) for name in readers])
    return Input(low, high, seen.rows[readers[0]], weights)


def _change_readers(tensors: dict[str, F32], seen: Seen, readers: list[str], centre: F64, r: F64) -> None:
    """Fold the inverse change into the reading layers, and change their ranges and samples."""
    for name in readers:
        weight = tensors[f"{name}.weight"].astype(np.float64)
        tensors[f"{name}.weight"] = _f32(weight * r)
        tensors[f"{name}.bias"] = _f32(tensors[f"{name}.bias"] + (weight * centre).sum(1))
        for group in (seen.low, seen.high, seen.rows):
            group[name] = _f32((group[name] - centre) / r)


def _change_values(tensors: dict[str, F32], seen: Seen, op: Attention, qkv: str, centre: F64, r: F64) -> None:
    """Fold the change of an attention's output into the rows of v, and change the range of v."""
    width = op.heads * op.head_dim
    weight, bias = tensors[f"{qkv}.weight"].astype(np.float64), tensors[f"{qkv}.bias"].astype(np.float64)
    weight[2 * width :] /= r[:, None]
    bias[2 * width :] = (bias[2 * width :] - centre) / r
    tensors[f"{qkv}.weight"], tensors[f"{qkv}.bias"] = _f32(weight), _f32(bias)
    for group in (seen.low, seen.high):
        v = (group[op.name][2 * width :] - centre) / r
        group[op.name] = np.concatenate([group[op.name][: 2 * width], _f32(v)])


def _f32(x: npt.NDArray[np.floating]) -> F32:
    return np.asarray(x, np.float64).astype(np.float32)
