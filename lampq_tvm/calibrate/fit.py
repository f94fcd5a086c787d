"""Calibration: observe the images, rewrite the model, then search every layer's quantizers at every width."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.calibrate.calibration import WIDTHS, Calibration
from lampq_tvm.calibrate.margins import widen
from lampq_tvm.calibrate.multiplied import operand_quantizers
from lampq_tvm.calibrate.observe import observe
from lampq_tvm.calibrate.rounding import find_rounding
from lampq_tvm.calibrate.search import search_activation
from lampq_tvm.calibrate.search_weights import WEIGHT_SEARCHES, search_heads
from lampq_tvm.network.model import Attends, Function, HeadOp, ImportedModel, Layer, Op
from lampq_tvm.network.pixels import layer_weight, pixel_units
from lampq_tvm.network.seen import Seen
from lampq_tvm.progress import track
from lampq_tvm.quantizers.probabilities import best_probabilities
from lampq_tvm.quantizers.protocol import Quantizer, find
from lampq_tvm.quantizers.symmetric import SymmetricHeads
from lampq_tvm.quantizers.uniform import Uniform
from lampq_tvm.quantizers.weights import weights_of
from lampq_tvm.recipes.find import find_recipe
from lampq_tvm.recipes.schema import Recipe
from lampq_tvm.rewrites.rewrite import rewritten
from lampq_tvm.spread import fitting_jobs, one_thread, spread
from lampq_tvm.store import Units

Arrays = dict[str, npt.NDArray[Any]]


@one_thread()
def calibrate(
    model: ImportedModel,
    batches: Iterable[tuple[npt.NDArray[np.uint8], Any]],
    *,
    units: Units,
    recipe: Recipe | None = None,
    widths: tuple[int, ...] = WIDTHS,
    seed: int = 0,
    count: int | None = None,
    jobs: int | None = None,
) -> Calibration:
    """Fit the quantizers of every layer at every candidate width.

    Args:
        model: the float model.
        batches: (images uint8 [B, C, H, W] at the model's size, labels); labels are unused. Gone through once, and again behind
            each rewrite that changes what there is to see.
        units: finished work; a piece of a batch and a layer are a unit each. Belongs to one model, data set, seed and recipe.
        recipe: names rewrites, quantizers and rounding; the recipe `default` where None.
        widths: candidate widths, ascending.
        seed: of the choice of sample rows.
        count: number of all images, where it is known.
        jobs: units computed at once; all usable cores where None. The result does not depend on it.

    Raises:
        UsageError: there is no image, or the recipe names what there is not.
    """
    recipe = recipe or find_recipe()
    softmax = {op.name: recipe.fitted(op.name) for op in model.ops if isinstance(op, Attends)}

    def look(model: ImportedModel, after: str = "") -> Seen:
        fitted = any(softmax.values())
        return widen(model, observe(model, batches, units, seed, count=count, jobs=jobs, shares=fitted, after=after))

    model, seen = rewritten(model, look(model), recipe.rewrites, look)
    fits = _fits(model, seen, recipe, units, widths, jobs)
    heads = {op.name: fits[op.name] for op in model.ops if isinstance(op, Attends)}
    layers = [layer for layer in model.layers if not layer.reads_image]
    fitted = {layer.name: fits[layer.name] for layer in model.layers}
    return Calibration(
        model=model,
        weights={name: {b: weights_of(_fields(fit, f"weight/{b}/")) for b in widths} for name, fit in fitted.items()},
        activations={
            x.name: {b: _input_quantizer(recipe, x, b).from_arrays(_fields(fitted[x.name], f"act/{b}/")) for b in widths}
            for x in layers
        },
        preactivations={
            op.name: Uniform.of_range(float(seen.low[op.name].min()), float(seen.high[op.name].max()), 8)
            for op in model.ops
            if isinstance(op, Function)
        }
        | operand_quantizers(model, seen),
        attention={name: {b: SymmetricHeads(b, fit[str(b)]) for b in widths} for name, fit in heads.items()},
        samples=dict(seen.rows),
        probabilities={
            name: {b: best_probabilities(kind, b, seen.shares[name]) for b, kind in kinds.items() if b in widths}
            for name, kinds in softmax.items()
            if kinds
        },
        codes={name: {b: fit[key] for b in widths if (key := f"codes/{b}") in fit} for name, fit in fitted.items()},
    )


def _fits(
    model: ImportedModel, seen: Seen, recipe: Recipe, units: Units, widths: tuple[int, ...], jobs: int | None
) -> dict[str, Arrays]:
    """What is fitted of every layer and attention, by name; the dearest first, so that none is left alone at the end."""
    key = "fit" + "".join(map(str, widths))
    cost = {layer.name: layer.params * max(1, layer.in_features) for layer in model.layers}
    layers = {layer.name: layer for layer in model.layers}
    ops = [op for op in model.ops if op.name in layers or isinstance(op, Attends)]
    ops.sort(key=lambda op: -cost.get(op.name, 0))

    def one(op: Op) -> Arrays:
        if isinstance(op, Attends):
            return units.get(f"{key}/{op.name}", lambda: _fit_heads(model, seen, op, widths))
        return units.get(f"{key}/{op.name}", lambda: _fit_layer(model, seen, recipe, layers[op.name], widths))

    jobs = fitting_jobs(jobs, max(fit_bytes(layer, len(widths)) for layer in model.layers))
    found = track(spread(one, ops, jobs, lambda op: op.name), "quantizers", len(ops))
    return {op.name: fit for op, fit in zip(ops, found, strict=True)}


def fit_bytes(layer: Layer, widths: int) -> int:
    """Memory that fitting a layer takes, at most: float64 weights of every width twice, and six matrices of moments."""
    return 8 * (2 * (widths + 1) * layer.params + 6 * layer.in_features**2)


def _input_quantizer(recipe: Recipe, layer: Layer, bits: int) -> type[Quantizer]:
    """The class of a layer's input quantizer at a width."""
    return find(recipe.quantizer("activations", layer.name, layer.type, bits), "activations")


def _fields(fit: Arrays, prefix: str) -> Arrays:
    """Arrays of a quantizer whose names begin with `prefix`, by what follows it."""
    return {name.removeprefix(prefix): array for name, array in fit.items() if name.startswith(prefix)}


@torch.no_grad()
def _fit_layer(model: ImportedModel, seen: Seen, recipe: Recipe, layer: Layer, widths: tuple[int, ...]) -> Arrays:
    """Weight scales and codes, and input quantizers of one layer."""
    rows, name = torch.from_numpy(seen.rows[layer.name]), layer.name
    weight = torch.from_numpy(layer_weight(model, name).astype(np.float32))
    found: Arrays = {}
    if layer.reads_image:
        rows = rows * torch.from_numpy(pixel_units(model, name)[0].astype(np.float32))
    else:
        low, high = float(seen.low[name].min()), float(seen.high[name].max())
        kinds = {b: _input_quantizer(recipe, layer, b) for b in widths}
        acts = search_activation(rows, weight, low, high, kinds)
        found |= {f"act/{b}/{name}": array for b, act in acts.items() for name, array in act.arrays().items()}
    moments = rows.T @ rows / len(rows)
    half = rows.T / len(rows) ** 0.5 if len(rows) < rows.shape[1] else None
    searches = {b: WEIGHT_SEARCHES.find(recipe.quantizer("weights", name, layer.type, b), where=name) for b in widths}
    quantizers = {b: search(weight, moments, b, half) for b, search in searches.items()}
    codes = find_rounding(recipe.rounding).codes(weight, quantizers, moments, recipe.rounding)
    found |= {f"weight/{b}/{field}": array for b, q in quantizers.items() for field, array in q.arrays().items()}
    return found | {f"codes/{b}": c for b, c in codes.items()}


@torch.no_grad()
def _fit_heads(model: ImportedModel, seen: Seen, op: Attends, widths: tuple[int, ...]) -> Arrays:
    """Scales [3, heads] of q, k and v at every width; q and k weigh a channel by the other's second moment."""
    parts = _head_samples(model, seen, op)
    square = [part.square().mean(0) for part in parts]
    importance = (square[1], square[0], torch.ones_like(square[2]))
    peaks = np.maximum(np.abs(seen.low[op.name]), np.abs(seen.high[op.name])).reshape(-1, op.heads, op.head_dim).max(2)
    if op.query is not None:
        peaks = np.concatenate([parts[0].abs().amax((0, 2)).numpy()[None], peaks])
    return {
        str(b): np.stack(
            [
                search_heads(part, weigh, torch.from_numpy(peak), b).scale.astype(np.float64)
                for part, weigh, peak in zip(parts, importance, peaks, strict=True)
            ]
        )
        for b in widths
    }


def _head_samples(model: ImportedModel, seen: Seen, op: Attends) -> list[Tensor]:
    """Samples of q, k and v, each [R, heads, head_dim]; those of a rotary embedding before it turns them."""
    source = model.op(op.inputs[0])
    layer = source.inputs[0] if isinstance(source, HeadOp) else source.name
    weight, bias = (torch.from_numpy(model.tensors[f"{layer}.{k}"]) for k in ("weight", "bias"))
    values = torch.from_numpy(seen.rows[layer]) @ weight.T + bias
    if isinstance(source, HeadOp):
        constants = {k: torch.from_numpy(v) for k, v in model.tensors.items() if k.startswith(f"{source.name}.")}
        values = source.sampled(values, constants)
    parts = list(values.view(len(values), -1, op.heads, op.head_dim).unbind(1))
    if op.query is not None:
        parts.insert(0, torch.from_numpy(model.tensors[op.query]).transpose(0, 1))
    return parts
