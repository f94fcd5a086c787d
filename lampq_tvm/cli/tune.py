"""`lampq tune`: search for fast schedules of a model's kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def tune(
    model: o.Model,
    target: o.Target = "host",
    plan: Annotated[Path | None, typer.Option(help="Tune the kernels of this bit plan.")] = None,
    budget: o.Budget = None,
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
    calib_images: o.CalibImages = 128,
    sens_images: o.SensImages = 256,
    device: o.Device = None,
    key_file: o.KeyFile = None,
    batch: o.Batch = 1,
    threads: o.Threads = None,
    trials: o.Trials = 64,
    seed: o.Seed = 0,
    jobs: o.Jobs = None,
    json: o.Json = False,
) -> None:
    """Tune MODEL's kernels; `compile` finds the records. Goes on where it stopped."""
    arguments = {k: v for k, v in locals().items() if k not in ("plan", "json")}
    request = o.request(**arguments)
    from lampq_tvm.api.measuring import tune_pipeline
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.cli.output import print_json, show_options

    pipeline = Pipeline(request, plan)
    show_options("tune", pipeline.shown() | {"plan": str(plan or "-")})
    database = tune_pipeline(pipeline)
    print_json({"database": str(database)}) if json else print(f"records: {database}")
