"""What integer widths cost in accuracy and bytes."""

from __future__ import annotations

from bench.report.tables import Row, bold, kilobytes, load, one, percent, table

NAMES = {
    "uniform8": "uniform 8/8",
    "uniform6": "uniform 6/6",
    "uniform4": "uniform 4/4",
    "uniform3": "uniform 3/3",
    "lampq4": "LampQ, 4 bits (defaults)",
    "lampq4, no update": "the same, `--no-update`",
    "lampq4, separate": "the same, `--separate`",
    "metric lampq": "`--metric lampq` (the paper's)",
    "metric lampq, alpha by loss": "`--metric lampq --alpha loss`",
    "metric lampq, no update": "`--metric lampq --no-update`",
    "metric kl": "`--metric kl`",
    "metric kl, separate": "`--metric kl --separate`",
}
ATTENTIONS = {(8, "uniform"): "attention 8 bits", (4, "uniform"): "4 bits", (4, "log_sqrt2"): "4 bits, log-sqrt2"}
NOISE = 0.0016  # of a difference of accuracies on the whole test set
AVERAGE = (4.0, 3.9)  # the least average widths of what counts as a plan of 4 bits


def fashion_mnist() -> str:
    """Accuracy on the whole Fashion-MNIST test set."""
    found = load("fashion_mnist")
    rows = found["rows"]
    columns = ["plan", "average w / a", "payload", *(f"{name}: top-1 (drop)" for name in ATTENTIONS.values()), "agreement"]
    lines = []
    for name, label in NAMES.items():
        own = [one(rows, name=name, attention=bits, softmax=softmax) for bits, softmax in ATTENTIONS]
        cells = [label, f"{own[0]['avg_w']:.2f} / {own[0]['avg_a']:.2f}", kilobytes(own[0]["payload_bytes"])]
        cells += [f"{percent(row['top1'])} ({row['drop']:.2f})" for row in own]
        lines.append(
            bold(cells[:1], name == "lampq4") + cells[1:] + [" / ".join(f"{100 * row['agreement']:.1f}" for row in own)]
        )
    return f"""## Accuracy

`python -m bench.accuracy.fashion_mnist`: the demo's model (a ViT of dim 96 and depth 6) on the {found["images"]:,} test
images of Fashion-MNIST, artifacts run on the host, {found["calib_images"]} calibration images. Float has
{percent(one(rows, name="float")["top1"])} %. Drops are in points, agreement with float in percent. Two plans of equal
average width differ by noise below about {100 * NOISE:.2f} points.

{table(columns, lines)}

With weights fitted once more under the plan, all plans of 4 bits are within that noise of uniform 4/4 here: what widths
would win is little once each layer makes up for those before it. At 3 bits they decide (below). The default metric is the
Fisher taken at a layer's output, which sees activations too ([why](decisions/metric.md)). The file's `widths` say what
each layer got.

Payloads are at most {largest_ratio(rows):.3f} times the bytes that cannot be avoided (weights at exactly their width,
float parts, tables)."""


def largest_ratio(rows: list[Row]) -> float:
    """Of all payloads, the largest over the bytes that cannot be avoided."""
    return max(row["ratio"] for row in rows if "ratio" in row)
