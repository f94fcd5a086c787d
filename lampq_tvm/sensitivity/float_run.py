"""The float model with layers quantized: one, started right at it, or all by a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fake import quantized_layer
from lampq_tvm.network.between import live_before
from lampq_tvm.network.execute import Replacement, run_float
from lampq_tvm.network.model import ImportedModel, Op


def planned_run(calibration: Calibration, plan: BitPlan) -> Callable[[Tensor], Tensor]:
    """The float model with every layer at its plan's widths, attention and everything else in float.

    It is close to what the integer network computes and many times faster than its exact reference: enough to compare
    plans, not to report an accuracy.

    Returns:
        A function that threads may share: images float32 [B, C, H, W], normalized, to the output [B, classes].
    """
    replace = {row.name: quantized_layer(calibration, row.name, row.w_bits, row.a_bits) for row in plan.layers}
    return torch.no_grad()(lambda images: run_float(calibration.model, images, replace=replace))


class FloatRun:
    """One piece of images through the float model, with the values needed to start again at any layer.

    Args:
        replace: layers that are computed in another way, by name.

    Attributes:
        output: the output [B, classes].
    """

    @torch.no_grad()
    def __init__(self, model: ImportedModel, images: Tensor, replace: Mapping[str, Replacement] | None = None) -> None:
        self.model, self.images, self.replace = model, images, replace or {}
        self.order = {op.name: i for i, op in enumerate(model.ops)}
        wanted = {name for layer in model.layers for name in live_before(model, layer.name)}
        self.values: dict[str, Tensor] = {}

        def keep(op: Op, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            """Keep what some layer's start needs."""
            if op.name in wanted:
                self.values[op.name] = output

        self.output = run_float(model, images, replace=self.replace, observe=keep)

    def with_layer(self, layer: str, function: Replacement | None = None) -> Tensor:
        """Output [B, classes] with `function` in the place of one layer; None: the layer itself, in float."""
        return self.with_layers({layer: function})

    @torch.no_grad()
    def with_layers(self, functions: Mapping[str, Replacement | None]) -> Tensor:
        """The same with several layers."""
        start = min(self.order[layer] for layer in functions)
        before = {name: value for name, value in self.values.items() if self.order[name] < start}
        replace = {name: function for name, function in {**self.replace, **functions}.items() if function is not None}
        return run_float(self.model, self.images, replace=replace, values=before)
