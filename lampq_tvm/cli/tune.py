"""`lampq tune`: search for fast schedules of a model's kernels."""

from __future__ import annotations

from lampq_tvm.api.requests import TuneRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def tune(request: TuneRequest, form: Form) -> None:
    """Tune MODEL's kernels; `compile` finds the records. Goes on where it stopped."""
    from lampq_tvm.api.measuring import tune_pipeline
    from lampq_tvm.api.options import Options
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.cli.output import print_json, show_options

    pipeline = Pipeline(Options.of(request), request.plan)
    show_options("tune", pipeline.shown() | {"plan": str(request.plan or "-")})
    database = tune_pipeline(pipeline)
    print_json({"database": str(database)}) if form.json else print(f"records: {database}")
