"""Who chooses the widths, and other libraries beside ours: sections of the page of results."""

from __future__ import annotations

from bench.common.paired import bits_of, interval
from bench.report.recipes import NAMES
from bench.report.tables import Row, bold, load, percent, table

OURS = "lampq, update"  # LampQ whole: its metric and its update
SEEN = ("lampq", "fisher", "hawq", "relevance", "fisher_output", "kl", "greedy")
TYPES = ("attn.qkv", "attn.proj", "fc1", "fc2")
FORMS = ("factors", "train", "branch")
BASES = {"lampq": "AdaLog's quantizers", "default": "`default`'s quantizers"}


def _shown(row: Row, ours: Row | None) -> str:
    """What a row has, and how far LampQ's widths lie above it."""
    told = f"{percent(row['top1'])}, {row['kl']:.3f}"
    if ours is None or row is ours or ours["images"] != row["images"]:
        return told
    mine, its = (bits_of(x["right"], x["images"]) for x in (ours, row))
    low, high = interval(mine, its)
    return f"{told}, {100 * float(mine.mean() - its.mean()):+.2f} [{low:+.2f}, {high:+.2f}]"


def allocations() -> str:
    """Metrics and LampQ's parts on two bases."""
    found, parts = load("allocations"), []
    models = list(dict.fromkeys(row["model"] for row in found["rows"]))
    for model in models:
        own = [row for row in found["rows"] if row["model"] == model]
        columns = list(dict.fromkeys((row["base"], row["bits"]) for row in own))
        cells = {(row["widths by"], row["base"], row["bits"]): row for row in own}
        names = list(dict.fromkeys(row["widths by"] for row in own))
        lines = [
            bold(
                [name, *((row := cells.get((name, *c))) and _shown(row, cells.get((OURS, *c))) for c in columns)], name == OURS
            )
            for name in names
        ]
        head = ["widths by", *(f"{BASES[base]}, {bits} bits" for base, bits in columns)]
        parts.append(f"{NAMES[model]}, {own[0]['images']:,} test images:\n\n" + table(head, lines))
    tables = "\n\n".join(parts)
    given = "\n\n".join(_widths_by_type([row for row in found["rows"] if row["model"] == model]) for model in models)
    return f"""## Who chooses the widths

`python -m bench.accuracy.allocations`: top-1 of compiled artifacts and the mean divergence from float's answers; then by how
many points LampQ's widths (its metric and its update) lie above, with the 95 % interval of the paired bootstrap. Activations
have the weights' width; `one width`: the same for all layers.

{tables}

What they do with the bits: the average width of a type's layers on AdaLog's quantizers at 3 bits, and the first block's fc2.
Why LampQ's are not above all others: [sensitivity](sensitivity.md#where-lampqs-widths-are-not-above-others).

{given}"""


def _widths_by_type(rows: list[Row]) -> str:
    """A model's plans at 3 bits, by type of layer."""
    own = {row["widths by"]: row for row in rows if (row["base"], row["bits"]) == ("lampq", 3)}
    lines = []
    for name in [name for name in SEEN if name in own]:
        widths = [(layer, bits) for layer, bits, _ in own[name]["plan"]]
        by_type = [[bits for layer, bits in widths if layer.endswith(f"{kind}")] for kind in TYPES]
        first = next(bits for layer, bits in widths if layer.endswith("fc2"))
        lines.append([name, *(f"{sum(each) / len(each):.2f}" for each in by_type), first, percent(own[name]["top1"])])
    return f"{NAMES[rows[0]['model']]}:\n\n" + table(["widths by", "qkv", "proj", "fc1", "fc2", "first fc2", "top-1"], lines)


def features() -> str:
    """A trained ViT-S/14 on photos."""
    rows = load("features")["rows"]
    columns = list(dict.fromkeys(row["widths"] for row in rows))
    cells = {(row["recipe"], row["widths"]): row for row in rows}
    lines = []
    for name in dict.fromkeys(row["recipe"] for row in rows):
        made = [cells.get((name, c)) for c in columns]
        lines.append(bold([name, *(r and f"{r['cosine']:.4f}, {percent(r['agreement'])}" for r in made)], name == "default"))
    return f"""## Features of a trained ViT-S/14

`python -m bench.accuracy.features`: 224 x 224, {rows[0]["calib_images"]} photos calibrate, {rows[0]["photos"]} others are
looked at; cosine between the artifact's and the float model's features, and for how many percent the nearest other photo stays.

{table(["recipe", *columns], lines)}"""


def factored() -> str:
    """Thin factors and trains beside integer weights of as many bits."""
    rows = load("factored")["rows"]
    lines = []
    for row in rows:
        told = (f"{row[form]} ({row[f'{form}_better']} of {row['layers']})" if form in row else None for form in FORMS)
        lines.append([NAMES.get(row["model"], "ViT-S/14"), row["bits"], *told])
    head = ["model", "bits", "two factors", "a tensor train of two cores", "a bit less, and two factors beside it"]
    return f"""## Layers in thin factors

`python -m bench.accuracy.factored`: a layer's weights as two factors at 8 bits, as a train of two cores, or at a bit less
with two factors beside them, each with as many bits as plain integer weights; its output's error on sampled inputs, over
theirs (geometric mean over layers; in brackets, in how many layers it is below). A program that minimizes loss would take
none of them, so it is offered none; a low-rank correction merged into weights costs no bits, and is ([recipes](recipes.md)).

{table(head, lines)}"""


def libraries() -> str:
    """Brevitas, Model-Optimizer, NNCF and ONNX Runtime."""
    found = load("accuracy_peers")
    rows, parts = found["rows"], []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        columns = list(dict.fromkeys(row["widths"] for row in own))
        cells = {(row["library"], row["widths"]): row for row in own}
        lines = []
        for name in dict.fromkeys(row["library"] for row in own):
            made = [cells.get((name, c), {}) for c in columns]
            told = [f"{percent(r['top1'])} ({r['drop']:.2f}), {r['kl']:.3f}" if "top1" in r else None for r in made]
            lines.append(bold([name, *told, made[0].get("left")], name == "lampq-tvm"))
        parts.append(f"{NAMES[model]}:\n\n" + table(["library", *columns, "stays in float"], lines))
    tables = "\n\n".join(parts)
    versions = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    return f"""## Other libraries without training

`python -m bench.accuracy.peers`: the same model, {rows[0]["calib_images"]} calibration images and {rows[0]["images"]:,} test
images; top-1, in brackets the points lost to float, behind the comma the mean divergence from float's answers. Ours is
`default` from its artifact, with attention's products at 8 bits; theirs ({versions}) are played in floats, but for ONNX
Runtime's; `-`: it goes no further than 8/8.

{tables}"""
