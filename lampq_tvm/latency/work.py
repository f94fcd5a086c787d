"""What there is to measure: each layer's kernel at each pair of widths, and the kernels that no plan changes."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from lampq_tvm.calibrate.calibration import WIDTHS
from lampq_tvm.lower.context import TilesFor
from lampq_tvm.lower.kernel import Call
from lampq_tvm.lower.module import lower_calls
from lampq_tvm.quantize.model import QuantizedModel


@dataclass(frozen=True)
class Work:
    """Kernels to measure.

    Attributes:
        layers: layer -> (w, a) -> kernel name.
        fixed: value that a call writes -> kernel name, for calls that no plan changes.
        kernels: kernel name -> a call of it.
    """

    layers: dict[str, dict[tuple[int, int], str]]
    fixed: dict[str, str]
    kernels: dict[str, Call]


def plan_work(qm: QuantizedModel, isa: str, batch: int, tiles: TilesFor) -> Work:
    """The work for a network: any plan of it has the same shapes, only the widths differ.

    Products come in the order of the plan's layers, one call with weights each.
    """
    layers: dict[str, dict[tuple[int, int], str]] = {row.name: {} for row in qm.plan.layers}
    fixed: dict[str, str] = {}
    kernels: dict[str, Call] = {}
    for w_bits, a_bits in itertools.product(WIDTHS, WIDTHS):
        calls, _ = lower_calls(at_widths(qm, w_bits, a_bits), isa, batch, tiles)
        products = [call for call in calls if has_weights(call)]
        for row, call in zip(qm.plan.layers, products, strict=True):
            if not row.reads_image or a_bits == 8:
                layers[row.name][w_bits, a_bits] = call.kernel
        fixed = {call.value: call.kernel for call in calls if not has_weights(call)}
        kernels |= {call.kernel: call for call in calls}
    return Work(layers, fixed, kernels)


def has_weights(call: Call) -> bool:
    """Whether it is a product with stored weights."""
    return any(recipe["from"] in ("weights", "pairs") for recipe in call.recipes)


def at_widths(qm: QuantizedModel, w_bits: int, a_bits: int) -> QuantizedModel:
    """The network with every product's widths replaced: the same shapes; its numbers mean nothing."""
    weights = {f"{op.name}.{field}" for op in qm.ops for field in op.packed}
    tensors = {name: np.zeros_like(t) if name in weights else t for name, t in qm.tensors.items()}  # codes of any width
    return dataclasses.replace(qm, ops=tuple(op.at_widths(w_bits, a_bits) for op in qm.ops), tensors=tensors)
