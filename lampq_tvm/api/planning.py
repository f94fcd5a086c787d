"""`plan`: how many bits each layer gets."""

from __future__ import annotations

from pathlib import Path

from lampq_tvm.api.caching import at_work
from lampq_tvm.api.option import taking
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.requests import PlanRequest
from lampq_tvm.bitplan import BitPlan


@taking(PlanRequest)
def plan(request: PlanRequest) -> BitPlan:
    """Work out a bit plan.

    Raises:
        LampqError: what is wrong; nothing was written then.
    """
    return plan_pipeline(Pipeline(Options.of(request)), request.output)


@at_work()
def plan_pipeline(pipeline: Pipeline, output: Path | None) -> BitPlan:
    """Check the request, work out the plan, write it."""
    pipeline.check(output)
    found = pipeline.plan
    if output is not None:
        found.save(output)
    return found
