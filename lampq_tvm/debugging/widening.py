"""What is won back when one layer alone is widened: the float model under the plan, once with each layer left in float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fake import quantized_layer
from lampq_tvm.network.execute import Replacement, normalize, run_float
from lampq_tvm.sensitivity.criteria import divergence, hits
from lampq_tvm.sensitivity.float_run import FloatRun

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Of some images, summed, [1 + layers] each: the plan as it is, then with each of its layers in float.

    Attributes:
        right: images that get their label; where there are none, the float model's answer.
        loss: KL(float || it), or of a model without a classifier the squared error of its output over its square.
        float_right: images that the float model gets right.
        count: images.
    """

    right: F64
    loss: F64
    float_right: int
    count: int

    def __add__(self, more: Answers) -> Answers:
        """Of both."""
        added = (a + b for a, b in zip(vars(self).values(), vars(more).values(), strict=True))
        return Answers(*added)


class Widening:
    """The float model with every layer at its plan's widths, to be run with each of them in float again."""

    def __init__(self, calibration: Calibration, plan: BitPlan) -> None:
        self.model, self.rows = calibration.model, plan.layers
        self.replace: Mapping[str, Replacement] = {
            row.name: quantized_layer(calibration, row.name, row.w_bits, row.a_bits) for row in plan.layers
        }

    @torch.no_grad()
    def answers(self, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None) -> Answers:
        """Of images [B, C, H, W] and their labels [B]."""
        images = normalize(pixels, self.model.input)
        exact = run_float(self.model, images)
        wanted = exact.argmax(1).numpy() if labels is None else np.array(labels, np.int64)
        run = FloatRun(self.model, images, self.replace)
        outputs = [run.output, *(run.with_layer(row.name) for row in self.rows)]
        return Answers(
            right=np.array([hits(output, wanted).sum() for output in outputs]),
            loss=np.array([float(divergence(exact, output, self.model.has_classifier).sum()) for output in outputs]),
            float_right=int(hits(exact, wanted).sum()),
            count=len(pixels),
        )
