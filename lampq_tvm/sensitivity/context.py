"""What every metric is given."""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.sensitivity.pairs import Pairing
from lampq_tvm.sensitivity.pieces import Batches
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
    labels: str
    seed: int
    images: int
    labels_used: bool
    jobs: int | None = None
