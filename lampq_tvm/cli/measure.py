"""`lampq measure`: what each layer's widths cost on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def measure(
    model: o.Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The JSON table to write; --latency-table takes it.")],
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
    calib_images: o.CalibImages = 128,
    device: o.Device = None,
    key_file: o.KeyFile = None,
    batch: o.Batch = 1,
    threads: o.Threads = None,
    seed: o.Seed = 0,
    jobs: o.Jobs = None,
    no_cache: o.NoCache = False,
    json: o.Json = False,
) -> None:
    """Build and time each distinct kernel of MODEL at every pair of widths."""
    arguments = {k: v for k, v in locals().items() if k not in ("output", "json")}
    request = o.request(**arguments)
    from lampq_tvm.api.measuring import measure_pipeline
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.calibrate.calibration import WIDTHS
    from lampq_tvm.cli.output import print_json, print_table, show_options

    pipeline = Pipeline(request)
    show_options("measure", pipeline.shown() | {"output": str(output)})
    table = measure_pipeline(pipeline, output)
    if json:
        print_json(table.model_dump())
        return
    columns = [(f"{w}/{w}", f"{w}/8") for w in WIDTHS]  # the patch embedding reads the image: always 8 bits
    found = [(row.name, [row.pairs.get(tied) or row.pairs.get(wide) for tied, wide in columns]) for row in table.layers]
    rows = [(name, *(None if time is None else time.median_ms for time in times)) for name, times in found]
    print_table(("ms", *(tied for tied, _ in columns)), rows)
    print(f"{table.kind} on {table.device}; operators that no plan changes take {table.fixed_ms:.3f} ms")
