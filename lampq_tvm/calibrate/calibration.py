"""What calibration returns: the model to be quantized and, per layer and candidate width, its quantizers."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.quantizers.probabilities import probabilities
from lampq_tvm.quantizers.protocol import QUANTIZERS, Quantizer
from lampq_tvm.quantizers.symmetric import SymmetricHeads
from lampq_tvm.quantizers.uniform import Uniform
from lampq_tvm.quantizers.weights import Weights
from lampq_tvm.store import load_stage, save_stage

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
FITTED = ("weights", "activations", "preactivations", "attention", "probabilities")


@dataclass(frozen=True)
class Calibration:
    """Quantizers of every layer at every candidate width.

    Attributes:
        model: the model after the recipe's rewrites, the same function as the imported one.
        weights: layer -> bits -> quantizer of its weights [N, K]; the patch embedding's belong to the weights with pixel
            scale and std folded in (`network.pixels`).
        activations: layer -> bits -> quantizer of the layer's input (the patch embedding has none: pixels are codes).
        preactivations: Activation op -> its 8-bit input quantizer; operand of a MatMul op -> its own, where 8 bits are enough.
        attention: Attention op -> bits -> quantizer of q, k and v, with scales [3, heads].
        probabilities: Attention op -> bits -> quantizer of p, where its kind leaves anything to choose.
        samples: layer -> rows [R, K] float32 of its input in that model, for errors measured later.
        codes: layer -> bits -> weight codes [N, K] int8 whose rounding errors make up for each other; where a width has none,
            weights are simply rounded at their scales.
        biases: layer -> bits -> bias [N] float32 that goes with weights fitted once more; where a width has none, the model's.
    """

    model: ImportedModel
    weights: dict[str, dict[int, Weights]]
    activations: dict[str, dict[int, Quantizer]]
    preactivations: dict[str, Uniform]
    attention: dict[str, dict[int, SymmetricHeads]]
    samples: dict[str, np.ndarray]
    codes: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    biases: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    probabilities: dict[str, dict[int, Quantizer]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `calibration.st` and `model.st` into a folder."""
        plain = {"codes": self.codes, "biases": self.biases}
        tensors = {f"{group}/{k}/{b}": v for group, by in plain.items() for k, w in by.items() for b, v in w.items()}
        tensors |= {f"samples/{k}": v for k, v in self.samples.items()}
        fitted: dict[str, Mapping[str, Mapping[int, Quantizer]]] = {
            "weights": self.weights,
            "activations": self.activations,
            "preactivations": {k: {q.bits: q} for k, q in self.preactivations.items()},
            "attention": self.attention,
            "probabilities": self.probabilities,
        }
        for group, by_name in fitted.items():
            for k, by_bits in by_name.items():
                for b, q in by_bits.items():
                    tensors |= {f"{group}/{k}/{b}/{q.name}/{field}": array for field, array in q.arrays().items()}
        self.model.save(Path(folder) / "model.st")
        save_stage(Path(folder) / "calibration.st", "calibration", {}, tensors)

    def only(self, plan: BitPlan) -> Calibration:
        """What a plan uses of weights, and no samples; layers that stay float16 keep all of theirs."""
        widths = {row.name: row.w_bits for row in plan.layers if not row.is_float}
        weights = {name: {b: q for b, q in by.items() if b == widths.get(name, b)} for name, by in self.weights.items()}
        codes, biases = (
            {name: {b: x for b, x in by.items() if b == widths.get(name, b)} for name, by in group.items()}
            for group in (self.codes, self.biases)
        )
        return dataclasses.replace(self, weights=weights, codes=codes, biases=biases, samples={})

    def probability(self, attention: str, kind: str, bits: int) -> Quantizer:
        """Quantizer of p of a kind: the one that was fitted, or the usual one where a plan names another kind.

        Raises:
            UsageError: there is no such kind.
        """
        found = self.probabilities.get(attention, {}).get(bits)
        return found if found is not None and found.name == kind else probabilities(kind, bits)[0]

    @staticmethod
    def load(folder: Path) -> Calibration:
        """Read what `save` wrote."""
        _, tensors = load_stage(Path(folder) / "calibration.st", "calibration")
        samples: dict[str, np.ndarray] = {}
        plain = {group: defaultdict[str, dict[int, np.ndarray]](dict) for group in ("codes", "biases")}
        fields = defaultdict[tuple[str, str, int, str], dict[str, np.ndarray]](dict)
        for key, array in tensors.items():
            group, rest = key.split("/", 1)
            if group == "samples":
                samples[rest] = array
            elif group in plain:
                name, bits = rest.rsplit("/", 1)
                plain[group][name][int(bits)] = array
            else:
                name, bits, kind, parameter = rest.rsplit("/", 3)
                fields[group, name, int(bits), kind][parameter] = array
        fitted: dict[str, defaultdict[str, dict[int, Any]]] = {group: defaultdict(dict) for group in FITTED}
        for (group, name, width, kind), arrays in sorted(fields.items()):
            fitted[group][name][width] = QUANTIZERS.find(kind).from_arrays(arrays)
        return Calibration(
            model=ImportedModel.load(Path(folder) / "model.st"),
            weights=dict(fitted["weights"]),
            activations=dict(fitted["activations"]),
            preactivations={k: q for k, by_bits in fitted["preactivations"].items() for q in by_bits.values()},
            attention=dict(fitted["attention"]),
            samples=samples,
            codes=dict(plain["codes"]),
            biases=dict(plain["biases"]),
            probabilities=dict(fitted["probabilities"]),
        )
