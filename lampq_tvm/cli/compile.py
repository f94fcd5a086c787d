"""`lampq compile`: a trained model and a board's name become one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def compile(
    model: o.Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .lampq file to write.")],
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
    plan: Annotated[Path | None, typer.Option(help="A bit plan made before; takes the place of budgets.")] = None,
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
    trials: o.Trials = 0,
    seed: o.Seed = 0,
    jobs: o.Jobs = None,
    no_cache: o.NoCache = False,
    debug_dump: Annotated[Path | None, typer.Option(help="A new folder for the network after each stage and pass.")] = None,
    json: o.Json = False,
) -> None:
    """Compile MODEL for a board within a budget."""
    arguments = {k: v for k, v in locals().items() if k not in ("output", "plan", "debug_dump", "json")}
    request = o.request(**arguments)
    from lampq_tvm.api.compiling import compile_pipeline
    from lampq_tvm.api.looking import inspect
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.cli.inspect import show
    from lampq_tvm.cli.output import show_options

    pipeline = Pipeline(request, plan)
    show_options("compile", pipeline.shown() | {"plan": str(plan or "-"), "output": str(output)})
    compile_pipeline(pipeline, output, debug_dump)
    show(inspect(output), json)
