"""`lampq debug`: where an artifact's accuracy goes."""

from __future__ import annotations

from lampq_tvm.api.requests import DebugRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form

HEADER = ("layer", "type", "w", "a", "snr dB", "cosine", "saturated %", "KL won", "points won")


@command
def debug(request: DebugRequest, form: Form) -> None:
    """An artifact beside the float model, layer by layer: the ones that cost most first, and what widening each wins back."""
    from lampq_tvm.api.debugging import debug as run
    from lampq_tvm.cli.output import print_json, print_table

    found = run(**vars(request))
    if form.json:
        print_json(found)
        return
    rows = [
        [
            *(row[key] for key in ("name", "type", "w_bits", "a_bits", "snr_db", "cosine")),
            None if row["saturated"] is None else 100 * row["saturated"],
            row["kl_won"],
            row["points_won"],
        ]
        for row in found["layers"]
    ]
    print_table(HEADER, rows)
    print(f"{found['n']} images: {100 * found['top1']:.2f} % (float {100 * found['fp32_top1']:.2f} %)")
    hint = next((row["hint"] for row in found["layers"] if row["hint"] is not None and row["kl_won"] > 0), None)
    if hint is not None:
        print(f"widen the first: {hint}")
