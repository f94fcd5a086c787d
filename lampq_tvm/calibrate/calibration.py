"""What calibration returns: the model to be quantized and, per layer and candidate width, its quantizers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.quantizers.uniform import ActQuantizer
from lampq_tvm.store import load_stage, save_stage

WIDTHS = (2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class Calibration:
    """Quantizers of every layer at every candidate width.

    Attributes:
        model: the model after the recipe's rewrites, the same function as the imported one.
        weights: layer -> bits -> scale per output channel [N] float64 (codes are symmetric); the patch embedding's
            scales belong to the weights with pixel scale and std folded in (`quantize.constants`).
        activations: layer -> bits -> quantizer of the layer's input (the patch embedding has none: pixels are codes).
        preactivations: Activation op -> its 8-bit input quantizer.
        attention: Attention op -> bits -> scales [3, heads] float64 of q, k and v (symmetric, per head).
        samples: layer -> rows [R, K] float32 of its input in that model, for errors measured later.
        codes: layer -> bits -> weight codes [N, K] int8 whose rounding errors make up for each other; where a width has none,
            weights are simply rounded at their scales.
    """

    model: ImportedModel
    weights: dict[str, dict[int, np.ndarray]]
    activations: dict[str, dict[int, ActQuantizer]]
    preactivations: dict[str, ActQuantizer]
    attention: dict[str, dict[int, np.ndarray]]
    samples: dict[str, np.ndarray]
    codes: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `calibration.st` and `model.st` into a folder."""
        tensors = {f"weights/{k}/{b}": v for k, w in self.weights.items() for b, v in w.items()}
        tensors |= {f"attention/{k}/{b}": v for k, w in self.attention.items() for b, v in w.items()}
        tensors |= {f"codes/{k}/{b}": v for k, w in self.codes.items() for b, v in w.items()}
        tensors |= {f"samples/{k}": v for k, v in self.samples.items()}
        meta = {
            "activations": {k: [dataclasses.asdict(q) for q in v.values()] for k, v in self.activations.items()},
            "preactivations": {k: dataclasses.asdict(q) for k, q in self.preactivations.items()},
        }
        self.model.save(Path(folder) / "model.st")
        save_stage(Path(folder) / "calibration.st", "calibration", meta, tensors)

    @staticmethod
    def load(folder: Path) -> Calibration:
        """Read what `save` wrote."""
        meta, tensors = load_stage(Path(folder) / "calibration.st", "calibration")
        by_bits: dict[str, dict[str, dict[int, np.ndarray]]] = {"weights": {}, "attention": {}, "codes": {}}
        samples = {}
        for key, array in tensors.items():
            group, rest = key.split("/", 1)
            if group == "samples":
                samples[rest] = array
            else:
                name, bits = rest.rsplit("/", 1)
                by_bits[group].setdefault(name, {})[int(bits)] = array
        return Calibration(
            model=ImportedModel.load(Path(folder) / "model.st"),
            weights=by_bits["weights"],
            activations={k: {q["bits"]: ActQuantizer(**q) for q in v} for k, v in meta["activations"].items()},
            preactivations={k: ActQuantizer(**q) for k, q in meta["preactivations"].items()},
            attention=by_bits["attention"],
            samples=samples,
            codes=by_bits["codes"],
        )
