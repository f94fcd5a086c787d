"""`plan`: how many bits each layer gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lampq_tvm.api.caching import at_work
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.plan import BitPlan


def plan(model: str | Path, *, output: str | Path | None = None, **options: Any) -> BitPlan:
    """Work out a bit plan.

    Args:
        model: a timm name, a `.pt2` or an `.onnx`.
        output: the JSON file to write, if any.
        **options: fields of `Options`.

    Raises:
        LampqError: what is wrong; nothing was written then.
    """
    return plan_pipeline(Pipeline(Options(model=str(model), **options)), None if output is None else Path(output))


@at_work()
def plan_pipeline(pipeline: Pipeline, output: Path | None) -> BitPlan:
    """Check the request, work out the plan, write it."""
    pipeline.check(output)
    found = pipeline.plan
    if output is not None:
        found.save(output)
    return found
