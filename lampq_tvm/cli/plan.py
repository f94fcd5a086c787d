"""`lampq plan`: how many bits each layer gets."""

from __future__ import annotations

from lampq_tvm.api.requests import PlanRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def plan(request: PlanRequest, form: Form) -> None:
    """Work out a bit plan for MODEL within a budget, a JSON file that a person may edit."""
    from lampq_tvm.api.options import Options
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.api.planning import plan_pipeline
    from lampq_tvm.cli.output import print_json, print_table, show_options

    pipeline = Pipeline(Options.of(request))
    show_options("plan", pipeline.shown() | {"output": str(request.output), "front": str(request.front or "-")})
    found = plan_pipeline(pipeline, request.output, request.front)
    rows = [row.model_dump() for row in found.layers]
    if form.json:
        print_json({"layers": rows, "avg_w_bits": found.avg_w_bits, "avg_a_bits": found.avg_a_bits, "notes": found.notes})
        return
    print_table(("layer", "type", "w", "a", "params", "reason"), [list(row.values()) for row in rows])
    print_table(("average", "bits"), [("weights", found.avg_w_bits), ("activations", found.avg_a_bits)])
    if "judged_images" in found.notes:
        keys = ("drop_points", "drop_bound_points", "losses", "gains", "judged_images")
        print_table(("judged", "figure"), [(key, found.notes[key]) for key in keys])
