"""`lampq measure`: what each layer's widths cost on a device."""

from __future__ import annotations

from lampq_tvm.api.requests import MeasureRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def measure(request: MeasureRequest, form: Form) -> None:
    """Build and time each distinct kernel of MODEL at every pair of widths."""
    from lampq_tvm.api.measuring import measure_pipeline
    from lampq_tvm.api.options import Options
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.calibrate.calibration import WIDTHS
    from lampq_tvm.cli.output import print_json, print_table, show_options

    pipeline = Pipeline(Options.of(request))
    show_options("measure", pipeline.shown() | {"output": str(request.output)})
    table = measure_pipeline(pipeline, request.output)
    if form.json:
        print_json(table.model_dump())
        return
    columns = [(f"{w}/{w}", f"{w}/8") for w in WIDTHS]  # the patch embedding reads the image: always 8 bits
    found = [(row.name, [row.pairs.get(tied) or row.pairs.get(wide) for tied, wide in columns]) for row in table.layers]
    rows = [(name, *(None if time is None else time.median_ms for time in times)) for name, times in found]
    print_table(("ms", *(tied for tied, _ in columns)), rows)
    print(f"{table.kind} on {table.device}; operators that no plan changes take {table.fixed_ms:.3f} ms")
