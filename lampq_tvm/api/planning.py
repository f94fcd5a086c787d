"""`plan`: how many bits each layer gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lampq_tvm.api.caching import at_work
from lampq_tvm.api.checks import check_output
from lampq_tvm.api.option import taking
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.requests import PlanRequest
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.errors import UsageError
from lampq_tvm.store import write_atomic


@taking(PlanRequest)
def plan(request: PlanRequest) -> BitPlan:
    """Work out a bit plan.

    Raises:
        LampqError: what is wrong; nothing was written then.
    """
    return plan_pipeline(Pipeline(Options.of(request)), request.output, request.front)


@at_work()
def plan_pipeline(pipeline: Pipeline, output: Path | None, front: Path | None = None) -> BitPlan:
    """Check the request, work out the plan (and the front), write."""
    pipeline.check(output)
    if front is not None:
        check_output(front)
        if not pipeline.options.parsed_budgets:
            raise UsageError("a front needs a budget to move", where="--front", hint="give a --budget, for example 4bit")
    found = pipeline.plan
    if output is not None:
        found.save(output)
    if front is not None:
        content = json.dumps({"version": 1, "model": pipeline.model.source, "front": front_rows(pipeline)}, indent=1)
        write_atomic(front, f"{content}\n".encode())
    return found


def front_rows(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The Pareto front, cheapest first: `budget` that gives the plan, `figure`, `loss`, the plan's figures, `widths` by layer.

    Raises:
        UsageError: there is no budget to move.
    """
    from lampq_tvm.allocate.front import front
    from lampq_tvm.api.solving import problem

    keys = ("avg_w_bits", "avg_a_bits", "payload_bytes", "ms")
    return [
        {
            "budget": point.budget,
            "figure": point.figure,
            "loss": point.loss,
            **{key: point.plan.notes[key] for key in keys if key in point.plan.notes},
            "widths": {row.name: f"{row.w_bits}/{row.a_bits}" for row in point.plan.layers},
        }
        for point in front(problem(pipeline, pipeline.table, pipeline.floats))
    ]
