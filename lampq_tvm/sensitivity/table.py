"""What sensitivity returns: the loss that a layer's widths cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.store import load_stage, save_stage


@dataclass(frozen=True)
class Sensitivity:
    """Loss of each layer at each pair of widths.

    Attributes:
        metric: its name, one of `sensitivity.metrics`.
        sees_activations: whether the loss depends on the activation width; where not, (w, a) must be tied or a fixed.
        layers: layer names, in the order of the layer table.
        widths: candidate widths, ascending.
        loss: [layers, widths (w), widths (a)] float64, lower is better, comparable across layers.
        details: figures behind it (Fisher traces, alphas, their accuracy drops), for the report.
    """

    metric: str
    sees_activations: bool
    layers: tuple[str, ...]
    widths: tuple[int, ...]
    loss: np.ndarray
    details: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write to one file."""
        meta = {"metric": self.metric, "sees_activations": self.sees_activations, "layers": list(self.layers)}
        meta |= {"widths": list(self.widths), "details": self.details}
        save_stage(path, "sensitivity", meta, {"loss": self.loss})

    @staticmethod
    def load(path: Path) -> Sensitivity:
        """Read what `save` wrote."""
        meta, tensors = load_stage(path, "sensitivity")
        layers, widths = tuple(meta["layers"]), tuple(meta["widths"])
        return Sensitivity(meta["metric"], meta["sees_activations"], layers, widths, tensors["loss"], meta["details"])
