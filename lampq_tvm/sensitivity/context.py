"""What every metric is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.progress import track
from lampq_tvm.recipes.schema import MetricOptions
from lampq_tvm.sensitivity.pairs import Pairing
from lampq_tvm.sensitivity.pieces import Batches, Piece, spread_pieces
from lampq_tvm.store import Units


@dataclass(frozen=True)
class Context:
    """The model, the images and how to measure.

    Attributes:
        calibration: the quantizers and the float model.
        batches: called once per pass over the images.
        widths: candidates, ascending.
        units: finished work.
        pairs: the pairs a plan may take.
        options: of the metric, as the recipe gives them.
        labels: of the Fisher, `empirical` or `sampled`.
        seed: of sampled labels.
        images: how many there are.
        labels_used: whether the data's labels mean something to the float model.
        jobs: pieces computed at once; all usable cores where None.
    """

    calibration: Calibration
    batches: Batches
    widths: tuple[int, ...]
    units: Units
    pairs: Pairing
    options: MetricOptions
    labels: str
    seed: int
    images: int
    labels_used: bool
    jobs: int | None = None

    def mean_loss(self, of_piece: Callable[[Piece], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        """Mean over all images of a loss [layers, widths (w), widths (a)], which `of_piece` gives as a piece's sum."""
        total = np.zeros((len(self.calibration.model.layers), len(self.widths), len(self.widths)))
        found = spread_pieces(self.calibration.model, self.batches, self.jobs, of_piece)
        for part in track(found, f"sensitivity ({self.options.name})"):
            total += part / self.images
        return total
