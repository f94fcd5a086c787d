"""`lampq sensitivity`: what each layer's bits are worth."""

from __future__ import annotations

from lampq_tvm.api.requests import SensitivityRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def sensitivity(request: SensitivityRequest, form: Form) -> None:
    """The losses of MODEL's layers at each width, as a plan under the same options is chosen by; lower is better."""
    from lampq_tvm.api.options import Options
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.api.sensing import sensitivity_table
    from lampq_tvm.cli.output import print_json, print_table, show_options

    pipeline = Pipeline(Options.of(request))
    show_options("sensitivity", pipeline.shown())
    found = sensitivity_table(pipeline)
    if form.json:
        print_json(found)
        return
    widths = sorted({pair for row in found["layers"] for pair in row["loss"]}, key=lambda pair: [*map(int, pair.split("/"))])
    if found["pairs"] == "separate":  # 49 columns: those of equal widths, and of activations at 8 bits
        widths = [pair for pair in widths if pair.endswith("/8") or len({*pair.split("/")}) == 1]
    rows = [[row["name"], row["type"], row["params"], *(row["loss"].get(pair) for pair in widths)] for row in found["layers"]]
    print_table(("layer", "type", "params", *widths), rows)
