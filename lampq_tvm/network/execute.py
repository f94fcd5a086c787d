"""Runs an ImportedModel in float32 with torch: the differentiable reference of everything that is quantized later."""

from __future__ import annotations

import threading
import weakref
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network.model import ImportedModel, InputSpec
from lampq_tvm.network.op import FloatOp, Op

Replacement = Callable[[Op, tuple[Tensor, ...]], Tensor]
Observer = Callable[[Op, tuple[Tensor, ...], Tensor], None]

_CONVERTED: dict[int, dict[str, Tensor]] = {}
_CONVERTING = threading.Lock()


def model_tensors(model: ImportedModel) -> dict[str, Tensor]:
    """The model's tensors as torch tensors (sharing memory where they are writable), converted once per model."""
    key = id(model)
    with _CONVERTING:
        if key not in _CONVERTED:
            arrays = {k: np.asarray(v, order="C") for k, v in model.tensors.items()}
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
        The output: logits [B, classes], or features [B, ...] of a model without a head; several outputs as one [B, numbers].
    """
    given = {"image": images, **(values or {})}
    found = run_to(model, given, model.outputs, tensors=tensors, replace=replace, observe=observe)
    return one_output([found[name] for name in model.outputs])


def one_output(outputs: Sequence[Tensor]) -> Tensor:
    """The only output as it is; several as rows of their numbers, one behind the other."""
    return outputs[0] if len(outputs) == 1 else torch.cat([x.reshape(len(outputs[0]), -1) for x in outputs], 1)


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
    """One operator in float (shapes as in `network.operators`).

    Raises:
        UnsupportedError: it is no operator of the float network.
    """
    if not isinstance(op, FloatOp):
        raise UnsupportedError(f"no float rule for operator {type(op).__name__}", where=op.name)
    return op.run(inputs, tensors)
