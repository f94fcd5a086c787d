"""How near each kernel of a model is to what its instructions allow: tables, and this machine's roofline as a picture."""

from __future__ import annotations

import math

from bench.report.svg import INK, LINE, picture, text
from bench.report.tables import Row, figure, load, ratio, table

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 70, 40, 740, 370
KINDS = {"attention": "#7a4fb5", "product": "#1f77b4"}
UNITS = {"ms": "milliseconds", "million": "million instructions"}
SHOWN = 0.01  # of a level's sum: kernels below it are one row


def _sums(rows: list[Row], key: str) -> float:
    return sum(row["calls"] * (row[key] or 0.0) for row in rows)


def _table(rows: list[Row]) -> str:
    """Kernels of a level at a pair of widths, those first where most could be won."""
    whole = _sums(rows, "figure")
    large = [row for row in rows if row["calls"] * row["figure"] >= SHOWN * whole]
    lines = [
        [
            f"`{row['kernel']}`",
            row["calls"],
            *(x and figure(x) for x in (row["figure"], row["least"])),
            _ratio(row),
            figure(row["won"]),
        ]
        for row in large
    ]
    small = [row for row in rows if row not in large]
    lines.append(["all others", None, figure(_sums(small, "figure")), None, None, figure(sum(row["won"] for row in small))])
    least = _sums(rows, "least")
    lines.append(
        [
            "**all calls**",
            sum(row["calls"] for row in rows),
            figure(whole),
            figure(least),
            ratio(whole / least),
            figure(whole - least),
        ]
    )
    return table(["kernel", "calls", "figure", "least", "ratio", "all calls above the least"], lines)


def _ratio(row: Row) -> str | None:
    return row["ratio"] and ratio(row["ratio"])


def limits() -> str:
    """The section of `docs/results.md`."""
    found = load("limits")
    keys = dict.fromkeys((row["level"], row["widths"]) for row in found["rows"])
    parts = []
    for level, widths in keys:
        rows = [row for row in found["rows"] if (row["level"], row["widths"]) == (level, widths)]
        parts.append(f"{level} at {widths}, {UNITS[rows[0]['unit']]}:\n\n{_table(rows)}")
    tables = "\n\n".join(parts)
    return f"""## Kernels and their limits

`python -m bench.speed.limits`: {found["model"].replace("_", " ")}, batch 1, one thread. On a machine `least` is the kernel's
multiply-adds at the speed of its register tile on operands in the nearest cache; on emulated boards the instructions of the
multiply-adds alone. LayerNorms and copies have no least: all of them counts as what could be won.

![Rates of the kernels over their multiply-adds a byte, below the rates of their register tiles](pictures/roofline.svg)

{tables}"""


def long() -> str:
    """Kernels of a long sequence, each kind's calls together."""
    found = load("limits_long")
    rows = found["rows"]
    lines = []
    for level, widths in dict.fromkeys((row["level"], row["widths"]) for row in rows):
        own = [row for row in rows if (row["level"], row["widths"]) == (level, widths)]
        parts = {
            "products": [row for row in own if row["least"] and not row["kernel"].startswith("attention")],
            "attention": [row for row in own if row["kernel"].startswith("attention")],
            "all others": [row for row in own if not row["least"]],
        }
        for name, part in parts.items():
            whole, least = _sums(part, "figure"), _sums(part, "least")
            share = ratio(whole / least) if least else None
            lines.append([f"{level} {widths}", name, own[0]["unit"], figure(whole), least and figure(least), share])
    whole = [row for row in load("host_peers_long")["rows"] if "value" in row]
    told = ", ".join(f"{row['runner']} {figure(row['value'])}" for row in sorted(whole, key=lambda row: row["value"]))
    return f"""## A long sequence

`python -m bench.speed.limits --model {found["model"]}`: DINOv2-S at 518 x 518, 1,370 tokens, products and attention apart, with
the same least as above. The whole model here, milliseconds on one thread
(`python -m bench.speed.host_peers --models {whole[0]["model"]} --threads 1`): {told}.

{table(["level", "calls of", "unit", "figure", "least", "ratio"], lines)}"""


def roofline() -> str:
    """Kernels of this machine's best level: multiply-adds a second over multiply-adds a byte, both in powers of two."""
    rows = [row for row in load("limits")["rows"] if "gmacs" in row]
    rows = [row for row in rows if row["level"] == rows[-1]["level"]]
    low, high = (f(math.log2(row["intensity"]) for row in rows) for f in (min, max))
    left, right = math.floor(low) - 1, math.ceil(high) + 1
    top, memory = math.ceil(math.log2(max(row["peak"] for row in rows))), rows[0]["memory"]
    bottom = math.floor(math.log2(min(row["gmacs"] for row in rows))) - 1

    def at(intensity: float, rate: float) -> tuple[float, float]:
        x = LEFT + (math.log2(intensity) - left) / (right - left) * (RIGHT - LEFT)
        return x, BOTTOM - (math.log2(rate) - bottom) / (top - bottom) * (BOTTOM - TOP)

    parts = [text(WIDTH / 2, 22, "Multiply-adds a second (10⁹) over multiply-adds a byte of operands", 13, "bold")]
    for power in range(left, right + 1):
        x, _ = at(2.0**power, 2.0**bottom)
        parts += [_line(x, TOP, x, BOTTOM, "#dde5ec"), text(x, BOTTOM + 18, f"{2.0**power:g}", 11)]
    for power in range(bottom, top + 1):
        _, y = at(2.0**left, 2.0**power)
        parts += [_line(LEFT, y, RIGHT, y, "#dde5ec"), text(LEFT - 10, y + 4, f"{2.0**power:g}", 11, anchor="end")]
    peaks = {row["widths"]: row["peak"] for row in rows if not row["kernel"].startswith("attention")}
    for rounded in dict.fromkeys(round(peak) for peak in peaks.values()):  # widths of one multiply-add share a line
        peak = max(peak for peak in peaks.values() if round(peak) == rounded)
        begin, end = at(max(2.0**left, peak / memory), peak), at(2.0**right, peak)
        words = f"register tile at {', '.join(w for w, p in peaks.items() if round(p) == rounded)}: {peak:.0f}"
        parts += [_line(*begin, *end, LINE), text(begin[0] + 8, begin[1] - 5, words, 11, anchor="start")]
    highest, lowest = max(peaks.values()), max(2.0**bottom, memory * 2.0**left)
    parts += [_line(*at(lowest / memory, lowest), *at(highest / memory, highest), LINE)]
    x, y = at(lowest / memory, lowest)
    parts.append(text(x + 8, y - 8, f"memory: {memory:.0f} GB/s", 11, anchor="start"))
    for row in rows:
        x, y = at(row["intensity"], row["gmacs"])
        kind = "attention" if row["kernel"].startswith("attention") else "product"
        words = f"{row['kernel']} {row['widths']}: {row['gmacs']:.0f}"
        parts.append(
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' fill='{KINDS[kind]}' stroke='{INK}'><title>{words}</title></circle>"
        )
    legend = [f"<circle cx='{LEFT + 20 + 110 * i}' cy='{HEIGHT - 14}' r='5' fill='{c}'/>" for i, c in enumerate(KINDS.values())]
    names = [text(LEFT + 32 + 110 * i, HEIGHT - 10, kind, 12, anchor="start") for i, kind in enumerate(KINDS)]
    level = rows[0]["level"]
    title = f"Kernels on {level}, one thread: lines are register tiles' rates, the slope is memory"
    return picture(WIDTH, HEIGHT, title, [*parts, *legend, *names])


def _line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    return f"<line x1='{x:.1f}' y1='{y:.1f}' x2='{to_x:.1f}' y2='{to_y:.1f}' stroke='{colour}' stroke-width='1.4'/>"
