"""Pictures made from the code: the road that data take through the rooms, and the floors of the house."""

from __future__ import annotations

import ast
import itertools

from bench.report import svg
from bench.report.tables import ROOT, table

PACKAGE = ROOT / "lampq_tvm"
# The rooms in the order in which data meet them, and what each hands on.
ROAD = (
    ("frontend", "ImportedModel"),
    ("calibrate", "Calibration"),
    ("sensitivity", "Sensitivity"),
    ("latency", "LatencyTable"),
    ("allocate", "BitPlan"),
    ("quantize", "QuantizedModel"),
    ("lower", "a module or launches"),
    ("compiler", "Artifact"),
    ("runtime", "logits"),
)
FLOAT, INTEGER, PLACE = "#fdf1e2", "#e3f0e6", "#eaf2f8"
ACROSS, WIDE, HIGH, GAP = 3, 270, 104, 46


def says(room: str) -> str:
    """The first sentence of a room's docstring, without its full stop."""
    path = PACKAGE / room / "__init__.py" if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"
    lines = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0]
    return " ".join(lines.split()).rstrip(".")


def road() -> str:
    """The stages row by row, each with what its room says of itself and what it returns."""
    kind = dict.fromkeys(("frontend", "calibrate", "sensitivity"), FLOAT)
    kind |= dict.fromkeys(("quantize", "lower", "compiler", "runtime"), INTEGER)
    parts, places = [], []
    for i, (room, gives) in enumerate(ROAD):
        x, y = 20 + (i % ACROSS) * (WIDE + GAP), 60 + (i // ACROSS) * (HIGH + GAP)
        places.append((x, y))
        parts.append(svg.box(x, y, WIDE, HIGH, f"{i + 1}. {room}", says(room), kind.get(room, PLACE)))
        parts.append(svg.text(x + WIDE / 2, y + HIGH - 9, f"gives {gives}", 11, "bold"))
    for (x, y), (to_x, to_y) in itertools.pairwise(places):
        if y == to_y:
            parts.append(svg.arrow([(x + WIDE, y + HIGH / 2), (to_x, to_y + HIGH / 2)]))
        else:
            middle = y + HIGH + GAP / 2
            start, end = x + WIDE / 2, to_x + WIDE / 2
            parts.append(svg.arrow([(start, y + HIGH), (start, middle), (end, middle), (end, to_y)]))
    width, height = 40 + ACROSS * WIDE + (ACROSS - 1) * GAP, 60 + 3 * HIGH + 2 * GAP + 20
    parts.append(svg.text(20, 34, "a trained Vision Transformer, images, the name of a board", 14, "bold", "start"))
    for i, (fill, words) in enumerate(((FLOAT, "float"), (PLACE, "choice of widths"), (INTEGER, "integers"))):
        parts.append(svg.swatch(width - 370 + (0, 80, 230)[i], 22, fill, words))
    return svg.picture(width, height, "From a trained model to logits: the stages, and what each gives to the next", parts)


def floors(levels: tuple[tuple[str, ...], ...]) -> str:
    """The floors, highest first: a room imports rooms of floors below its own."""
    parts, high, wide = [], 34, 132
    width = 70 + max(map(len, levels)) * (wide + 8) + 10
    for i, rooms in enumerate(reversed(levels)):
        y = 46 + i * (high + 10)
        parts.append(svg.text(44, y + high / 2 + 4, str(len(levels) - 1 - i), 12, "bold", "end"))
        parts += [svg.box(60 + j * (wide + 8), y, wide, high, room) for j, room in enumerate(rooms)]
    height = 46 + len(levels) * (high + 10) + 10
    parts.append(svg.text(20, 28, "lampq_tvm: a room imports rooms of lower floors alone", 13, "bold", "start"))
    parts.append(svg.arrow([(20, 52), (20, height - 20)]))
    return svg.picture(width, height, "The floors of the package, highest first", parts)


def rooms(levels: tuple[tuple[str, ...], ...]) -> str:
    """What each room is, by floor."""
    lines = [[len(levels) - 1 - i, f"`{room}`", says(room)] for i, found in enumerate(reversed(levels)) for room in found]
    return table(["floor", "room", "what it is"], lines)
