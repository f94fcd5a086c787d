"""Every recipe on the reference models: a table for each, and accuracy against payload as a picture."""

from __future__ import annotations

from collections.abc import Iterator

from bench.report.svg import INK, LINE, picture, text
from bench.report.tables import Row, bold, kilobytes, load, percent, table
from lampq_tvm.recipes.find import shipped

NAMES = {
    "fashion_mnist": "Fashion-MNIST, ViT of dim 96 and depth 6",
    "cifar10_vit": "CIFAR-10, ViT of dim 192 and depth 9",
    "cifar10_swin": "CIFAR-10, a Swin of 1.5 M parameters",
}
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 70, 40, 600, 370
MARK = {"default": "#c0392b", "lampq": "#7a4fb5", "gptq": "#1e8449"}
STEP = 13  # between names that lie close
IMAGES = 2000  # of the table that every recipe is in
CALIB = 512


def _models(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["model"] for row in rows))


def _rows() -> list[Row]:
    """Rows of the recipes that ship, all calibrated alike."""
    known = set(shipped())
    return [
        row
        for row in load("recipes")["rows"]
        if row["recipe"] in known and row["attention"] == 8 and row["calib_images"] == CALIB
    ]


def _compared(model: str) -> list[Row]:
    """Those of a model that every recipe has."""
    return [row for row in _rows() if (row["model"], row["seed"], row["images"]) == (model, 0, IMAGES)]


def _shown(row: Row) -> str:
    return f"{percent(row['top1'])} ({row['drop']:.2f}), {row['kl']:.3f}"


def recipes() -> str:
    """The section of `docs/results.md`."""
    parts = []
    for model in _models(_rows()):
        own = _compared(model)
        if not own:
            continue
        columns = list(dict.fromkeys(row["widths"] for row in own))
        cells = {(row["recipe"], row["widths"]): row for row in own}
        first = {row["recipe"]: row for row in reversed(own)}
        names = sorted(first, key=lambda name: (first[name]["kl"], name))
        lines = []
        for name in names:
            made = [cells.get((name, widths)) for widths in columns]
            size = kilobytes(first[name]["payload_bytes"])
            lines.append(bold([name, size, *(row and _shown(row) for row in made)], name == "default"))
        picture_of = f"![Accuracy against payload of every recipe](pictures/recipes_{model}.svg)"
        shared = {row["recipe"]: row["same"] for row in own if row.get("same")}
        told = "".join(f"\n\nThe row `{name}` is also that of {', '.join(same)}." for name, same in shared.items())
        head = ["recipe", f"payload at {columns[0]}", *columns]
        parts.append(f"{NAMES[model]}:\n\n{table(head, lines)}{told}\n\n{picture_of}")
    tables = "\n\n".join([*parts, *_seeds(_rows())])
    return f"""## Recipes

`python -m bench.accuracy.recipes`: top-1 of compiled artifacts on {IMAGES:,} test images, in brackets the points lost to
float, behind the comma the mean divergence from float's answers; {CALIB} calibration images,
attention at 8 bits. `4/4`, `3/3`, `2/8`: one width for all layers; `4bit` and `3bit`: widths that the recipe chooses;
`4/4bit`, `3/8bit`: the same, weights and activations apart. What each recipe is: [recipes](recipes.md).

{tables}"""


def _seeds(rows: list[Row]) -> Iterator[str]:
    """A table a model of what was calibrated more than once: on all of its test images where they are more."""
    for model in _models(rows):
        most = max(row["images"] for row in rows if row["model"] == model)
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            if (row["model"], row["images"]) == (model, most):
                groups.setdefault((row["recipe"], row["widths"]), []).append(row)
        groups = {key: found for key, found in groups.items() if len(found) > 1}
        if not groups:
            continue
        columns = sorted({widths for _, widths in groups}, reverse=True)
        cells = {key: _spread(found) for key, found in groups.items()}
        names = dict.fromkeys(name for name, _ in groups)
        lines = [bold([name, *(cells.get((name, widths)) for widths in columns)], name == "default") for name in names]
        told = f"{NAMES[model]}, {most:,} test images; points lost (least to most of several seeds), mean divergence"
        yield f"{told}:\n\n{table(['recipe', *columns], lines)}"


def _spread(rows: list[Row]) -> str:
    drops, kl = [row["drop"] for row in rows], sum(row["kl"] for row in rows) / len(rows)
    return f"{sum(drops) / len(drops):.2f} ({min(drops):.2f} to {max(drops):.2f}), {kl:.4f}"


def pictures() -> dict[str, str]:
    """Accuracy over payload on each model, by the picture's name."""
    return {f"recipes_{model}.svg": scatter(model) for model in _models(_rows()) if _compared(model)}


def scatter(model: str) -> str:
    """Accuracy over payload on a model, a mark for every recipe and width."""
    rows = sorted(_compared(model), key=lambda row: -row["top1"])
    low, high = (f(row["payload_bytes"] for row in rows) for f in (min, max))
    least, most = min(row["top1"] for row in rows), max(row["top1"] for row in rows)

    def at(row: Row) -> tuple[float, float]:
        x = LEFT + 20 + (row["payload_bytes"] - low) / max(high - low, 1) * (RIGHT - LEFT - 40)
        return x, BOTTOM - (row["top1"] - least) / max(most - least, 1e-9) * (BOTTOM - TOP)

    parts = [text(WIDTH / 2, 22, f"Top-1 over payload: {NAMES[model]}", 13, "bold")]
    for i in range(5):
        y = BOTTOM - i / 4 * (BOTTOM - TOP)
        parts.append(f"<line x1='{LEFT}' y1='{y:.1f}' x2='{RIGHT}' y2='{y:.1f}' stroke='#dde5ec'/>")
        parts.append(text(LEFT - 8, y + 4, percent(least + i / 4 * (most - least)), 11, anchor="end"))
    for share in (0.0, 0.5, 1.0):
        x = LEFT + 20 + share * (RIGHT - LEFT - 40)
        parts.append(text(x, BOTTOM + 20, kilobytes(round(low + share * (high - low))), 11))
    for row in rows:
        x, y = at(row)
        fill, words = MARK.get(row["recipe"], LINE), f"{row['recipe']} {row['widths']}: {_shown(row)}"
        parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' fill='{fill}' stroke='{INK}'><title>{words}</title></circle>")
    y = TOP
    for row in rows[: (BOTTOM - TOP) // STEP]:
        parts.append(text(RIGHT + 14, y, f"{row['recipe']} {row['widths']}  {percent(row['top1'])}", 10, anchor="start"))
        y += STEP
    return picture(WIDTH, HEIGHT, f"Accuracy against payload of every recipe, {NAMES[model]}", parts)
