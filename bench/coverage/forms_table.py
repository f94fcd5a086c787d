"""The forms that models come in, each compiled: does it import, how much of it is integer, how close is the artifact?

    python -m bench.coverage.forms_table --photos FOLDER --work FOLDER      (bench/results/forms.json)

Columns as of `bench.coverage.timm_table`. A form is a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.common.cells import Cells, Row
from bench.common.run import arguments
from bench.coverage.apart import apart, chosen
from bench.coverage.case import examined
from bench.coverage.forms import forms

CELL = ("model", "form")
COLUMNS = (*CELL, "integer", "convolutions", "float_parts", "correlation", "compile_seconds", "peak_mib", "refused")
MINUTES = 5


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "forms")
    parser.add_argument("--photos", type=Path, help="folder of image files; imports alone are looked at where left out")
    parser.add_argument("--models", nargs="+", help="of them; all")
    parser.add_argument("--again", action="store_true", help="make rows anew")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    photos = None if args.photos is None else chosen(args.photos, args.work)
    cells = Cells(args.output, CELL)
    for place, make in forms().items():
        if args.models and place[0] not in args.models:
            continue
        if args.again:
            cells.rows.pop(place, None)
        compute = partial(apart, partial(row, make, photos), args.work / "form", 60 * MINUTES)
        print(*place, cells.get(dict(zip(CELL, place, strict=True)), photos is not None, compute), file=sys.stderr, flush=True)
    cells.show(COLUMNS)


def row(make: Callable[[Path], Path], photos: tuple[Path, Path] | None, folder: Path) -> Row:
    """The row of a form; whoever exports it may refuse it too."""
    (folder / "model").mkdir()
    try:
        model = make(folder / "model")
    except Exception as e:  # exporters raise what they like
        return {"not_exported": f"{type(e).__name__}: {e}"[:200]}
    scale = {} if model.is_dir() else {"mean": (0.5,), "std": (0.25,), "trust_model": True}
    return examined(str(model), photos, folder, **scale)


if __name__ == "__main__":
    main()
