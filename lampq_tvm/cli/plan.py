"""`lampq plan`: how many bits each layer gets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def plan(
    model: o.Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The JSON file to write; `compile --plan` takes it.")],
    target: o.Target = "host",
    data: o.Data = None,
    class_order: o.ClassOrder = None,
    class_map: o.ClassMap = None,
    skip_broken: o.SkipBroken = False,
    checkpoint: o.Checkpoint = None,
    pretrained: o.Pretrained = False,
    model_arg: o.ModelArg = None,
    trust_model: o.TrustModel = False,
    mean: o.Mean = None,
    std: o.Std = None,
    size: o.Size = None,
    recipe: o.Recipe = "default",
    budget: o.Budget = None,
    max_drop: o.MaxDrop = None,
    val_data: o.ValData = None,
    val_images: o.ValImages = None,
    tied: o.Tied = None,
    a_bits: o.ABits = None,
    attention_bits: o.AttentionBits = 8,
    float_layers: o.FloatLayers = None,
    softmax: o.Softmax = None,
    metric: o.Metric = None,
    alpha: o.Alpha = None,
    calib_images: o.CalibImages = 128,
    sens_images: o.SensImages = 256,
    update: o.Update = None,
    device: o.Device = None,
    key_file: o.KeyFile = None,
    latency_table: o.LatencyTable = None,
    allow_estimates: o.AllowEstimates = False,
    batch: o.Batch = 1,
    threads: o.Threads = None,
    seed: o.Seed = 0,
    jobs: o.Jobs = None,
    no_cache: o.NoCache = False,
    json: o.Json = False,
) -> None:
    """Work out a bit plan for MODEL within a budget, a JSON file that a person may edit."""
    arguments = {k: v for k, v in locals().items() if k not in ("output", "json")}
    request = o.request(**arguments)
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.api.planning import plan_pipeline
    from lampq_tvm.cli.output import print_json, print_table, show_options

    pipeline = Pipeline(request)
    show_options("plan", pipeline.shown() | {"output": str(output)})
    found = plan_pipeline(pipeline, output)
    rows = [row.model_dump() for row in found.layers]
    if json:
        print_json({"layers": rows, "avg_w_bits": found.avg_w_bits, "avg_a_bits": found.avg_a_bits, "notes": found.notes})
        return
    print_table(("layer", "type", "w", "a", "params", "reason"), [list(row.values()) for row in rows])
    print_table(("average", "bits"), [("weights", found.avg_w_bits), ("activations", found.avg_a_bits)])
    if "judged_images" in found.notes:
        keys = ("drop_points", "drop_bound_points", "losses", "gains", "judged_images")
        print_table(("judged", "figure"), [(key, found.notes[key]) for key in keys])
