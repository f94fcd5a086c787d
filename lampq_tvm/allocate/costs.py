"""What plans cost: candidate widths per layer, and one cost row per budget."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lampq_tvm.allocate.budget import Budget
from lampq_tvm.allocate.ilp import Row
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.errors import CorruptError, DeviceError
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.network.model import ImportedModel, Layer
from lampq_tvm.quantize.build_rules import PAYLOAD
from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.carried import carried
from lampq_tvm.quantizers.protocol import find
from lampq_tvm.quantizers.twin_log import WIDEST as TWIN_LOG_WIDEST
from lampq_tvm.quantizers.twin_log import TwinLogWeights
from lampq_tvm.sensitivity.pairs import Pair, Pairing

MS_SLACK = 1e-9  # share of a time limit by which a sum of decimal milliseconds may miss it through rounding


@dataclass(frozen=True)
class Limit:
    """A cost row of a budget; bits have two, weights first.

    Attributes:
        row: its costs and limit.
        base: added to the row's total, e.g. the time of operators that no plan changes.
        unit: (total + base) / unit is the figure that the budget speaks of.
    """

    budget: Budget
    row: Row
    base: float
    unit: float

    def figure(self, total: float) -> float:
        """The figure of a row's total."""
        return (total + self.base) / self.unit


def figure_text(budget: Budget, figures: Sequence[float]) -> str:
    """A budget like `budget` that allows `figures` (one per row), rounded up so that it does."""
    if budget.kind == "bytes":
        return f"{math.ceil(figures[0])}B"
    step = 100 if budget.kind == "bits" else 1000
    up = [f"{math.ceil(x * step * (1 - 1e-12)) / step:.10g}" for x in figures]
    if budget.kind == "bits":
        return "/".join(up) + "bit" if budget.a_value is not None else f"{max(up, key=float)}bit"
    return up[0] + {"ms": "ms", "ratio": "x"}[budget.kind]


def payload_base(model: ImportedModel, floats: Collection[str] = ()) -> int:
    """Bytes of everything in a payload but the weights' codes: float32 constants and tables of the quantized operators.

    `floats`: layers, or `attention`, in float16.

    Raises:
        UnsupportedError: nobody knows what an operator stores.
    """
    return sum(PAYLOAD.find(type(op), where=op.name)(model, op, floats) for op in model.ops)


def table_bytes(model: ImportedModel, inputs: Mapping[str, Mapping[int, str]]) -> int:
    """Bytes, at most, that a payload has more where quantizers of layers' inputs have tables.

    A table behind what gives the codes, and where levels take two planes one for each of them and the constants of a second
    product.

    Args:
        inputs: layer -> width -> name of its input's quantizer.
    """

    def extra(layer: Layer, bits: int, name: str) -> int:
        found = carried(find(name, "activations").candidates(-1.0, 1.0, bits)[0])
        planes = sum(plane.nbytes for plane in found.planes)
        return sum(table.nbytes for table in found.tensors.values()) + planes + (8 * (layer.out_features + 1) if planes else 0)

    layers = [layer for layer in model.layers if not layer.reads_image]
    return sum(max(extra(layer, *named) for named in inputs[layer.name].items()) for layer in layers)


def decoding_bytes(model: ImportedModel, weights: Mapping[str, Mapping[int, str]]) -> int:
    """Bytes, at most, of what decodes weights: a zero point a row of asymmetric ones, the levels of others.

    Args:
        weights: layer -> width -> name of its weights' quantizer.
    """

    def most(layer: Layer) -> int:
        each = {AsymmetricWeights.name: layer.out_features, TwinLogWeights.name: 1 << TWIN_LOG_WIDEST}
        return max(each.get(name, 0) for name in weights[layer.name].values())

    return sum(most(layer) for layer in model.layers)


def check_latency(budgets: Sequence[Budget], table: LatencyTable | None, allow_estimates: bool) -> None:
    """Refuse a time budget without a table, with an estimated one unless allowed, or `0.6x` without a float baseline.

    Raises:
        DeviceError: the reason, and what would work.
    """
    for budget in budgets:
        if not budget.needs_latency:
            continue
        if table is None:
            hint = "name a --device to measure on, a --latency-table, or --allow-estimates"
            raise DeviceError("there is no latency table to plan with", where=f"budget {budget.text}", hint=hint)
        base = table.float_ms
        if budget.kind == "ratio" and base is None:
            what, hint = "the latency table has no time of the float baseline", "measure it, or give the budget in ms"
            raise DeviceError(what, where=f"budget {budget.text}", hint=hint)
        estimated = table.kind == "estimated" or (budget.kind == "ratio" and base is not None and base.kind == "estimated")
        if estimated and not allow_estimates:
            hint = "measure on a --device, or accept them with --allow-estimates"
            raise DeviceError("the latency table holds estimates", where=f"budget {budget.text}", hint=hint)


def layer_ms(table: LatencyTable, layer: Layer, choices: Sequence[Pair]) -> np.ndarray:
    """Time of a layer per choice, float64 [choices]; infinite where the table has none.

    Raises:
        CorruptError: the table has no time at all for it.
    """
    pairs = next((row.pairs for row in table.layers if row.name == layer.name), {})
    times = np.array([pairs[f"{w}/{a}"].median_ms if f"{w}/{a}" in pairs else np.inf for w, a in choices])
    if not np.isfinite(times).any():
        what = f"no time for layer {layer.name!r} at {choices[0][0]}/{choices[0][1]} bits or any other candidate"
        raise CorruptError(what, where="latency table", hint="run lampq measure for this model")
    return times


def layer_bytes(layer: Layer, choices: Sequence[Pair]) -> np.ndarray:
    """Bytes of a layer's packed weights per choice, whole numbers as float64 [choices]."""
    return np.array([-(-layer.params * w // 8) for w, _ in choices], float)


def limits(
    model: ImportedModel,
    choices: Sequence[Sequence[Pair]],
    budgets: Sequence[Budget],
    table: LatencyTable | None,
    base_bytes: int,
    pairing: Pairing,
) -> list[Limit]:
    """Cost rows of the budgets, in their order."""
    found: list[Limit] = []
    for budget in budgets:
        if budget.kind == "bits":
            found.append(_bits(model, choices, budget, 0, budget.value))
            if budget.a_value is not None or pairing.mode != "fixed":
                found.append(_bits(model, choices, budget, 1, budget.a_value or budget.value))
        elif budget.kind == "bytes":
            sizes = [layer_bytes(layer, c) for layer, c in zip(model.layers, choices, strict=True)]
            found.append(Limit(budget, Row(sizes, math.floor(budget.value) - base_bytes), base_bytes, 1))
        elif table is not None:
            unit = table.float_ms.median_ms if budget.kind == "ratio" and table.float_ms else 1.0
            times = [layer_ms(table, layer, c) for layer, c in zip(model.layers, choices, strict=True)]
            limit = budget.value * unit * (1 + MS_SLACK) - table.fixed_ms
            found.append(Limit(budget, Row(times, limit), table.fixed_ms, unit))
    return found


def _bits(model: ImportedModel, choices: Sequence[Sequence[Pair]], budget: Budget, side: int, value: float) -> Limit:
    """Row of a parameter-weighted average (side 0: weights, 1: activations): sum of params * width in whole numbers."""
    sizes = [0 if side and layer.reads_image else layer.params for layer in model.layers]
    cost = [np.array([n * pair[side] for pair in c], float) for n, c in zip(sizes, choices, strict=True)]
    return Limit(budget, Row(cost, math.floor(value * sum(sizes) + 1e-6)), 0.0, max(1, sum(sizes)))


def plan_choice(plan: BitPlan, choices: Sequence[Sequence[Pair]]) -> list[int]:
    """Index of each layer's widths among its choices.

    Raises:
        CorruptError: a layer's widths are no candidates.
    """
    found = []
    for row, pairs in zip(plan.layers, choices, strict=True):
        if (row.w_bits, row.a_bits) not in pairs:
            raise CorruptError(f"layer {row.name!r}: {row.w_bits}/{row.a_bits} bits are no candidates", where="plan")
        found.append(pairs.index((row.w_bits, row.a_bits)))
    return found


def plan_ms(plan: BitPlan, table: LatencyTable) -> float:
    """Time of a plan: the sum over its layers plus the operators that no plan changes."""
    return math.fsum([table.fixed_ms, *(table.ms(row.name, row.w_bits, row.a_bits) for row in plan.layers)])


def plan_bytes(plan: BitPlan, base_bytes: int) -> int:
    """Payload of a plan."""
    return base_bytes + sum(-(-row.params * row.w_bits // 8) for row in plan.layers)
