"""`sensitivity`: what each layer's bits are worth, as the integer program uses it."""

from __future__ import annotations

from typing import Any

from lampq_tvm.api.caching import at_work
from lampq_tvm.api.option import taking
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.requests import SensitivityRequest


@taking(SensitivityRequest)
def sensitivity(request: SensitivityRequest) -> dict[str, Any]:
    """The table of losses that a plan under the same options is chosen by.

    Returns:
        `metric`, `pairs` (how widths of weights and activations may pair up), `layers` (name, type, params, and `loss` of each
        pair `w/a` that a plan may take, lower is better), and the `details` behind the losses.

    Raises:
        LampqError: what is wrong.
    """
    return sensitivity_table(Pipeline(Options.of(request)))


@at_work()
def sensitivity_table(pipeline: Pipeline) -> dict[str, Any]:
    """Check the request, measure, and say what the program takes of it."""
    from lampq_tvm.api.solving import problem

    pipeline.check()
    program = problem(pipeline, pipeline.table, pipeline.floats)
    rows = []
    for layer, pairs, losses in zip(pipeline.model.layers, program.choices, program.loss, strict=True):
        loss = {f"{w}/{a}": float(x) for (w, a), x in zip(pairs, losses, strict=True)}
        rows.append({"name": layer.name, "type": layer.type, "params": layer.params, "loss": loss})
    found = program.sensitivity
    return {"metric": found.metric, "pairs": program.pairing.mode, "layers": rows, "details": found.details}
