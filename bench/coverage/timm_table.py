"""Every structure of timm's transformers, with random weights and few blocks: does it import and compile, and is it right?

    python -m bench.coverage.timm_table --photos FOLDER --work FOLDER       (bench/results/coverage.json)
    python -m bench.coverage.timm_table --work FOLDER                       (imports alone)
    python -m bench.coverage.timm_table ... --modules xcit cait --again     (some of them anew)

`integer`: share of the multiply-adds in integer operators; `convolutions`: that of convolutions which stay float;
`correlation`: between the 8-bit host artifact's outputs and the float model's on photos that did not calibrate, less their mean
over the photos. A model is a process of its own, forked from one that has loaded everything; what the file has is kept.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench.common.cells import Cells
from bench.common.run import arguments
from bench.coverage.apart import apart, chosen
from bench.coverage.case import examined
from bench.coverage.names import MODULES, Structure, structures

CELL = ("module", "name")
COLUMNS = (*CELL, "names", "gmacs", "integer", "convolutions", "correlation", "compile_seconds", "peak_mib", "refused")


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "coverage")
    parser.add_argument("--photos", type=Path, help="folder of image files; imports alone are looked at where left out")
    parser.add_argument("--modules", nargs="+", default=MODULES, choices=MODULES, metavar="MODULE", help="of timm; all")
    parser.add_argument("--minutes", type=int, default=20, help="that a model may take")
    parser.add_argument("--largest", type=int, default=200, help="million parameters")
    parser.add_argument("--again", action="store_true", help="make rows anew")
    parser.add_argument("--refused", action="store_true", help="make anew the rows of models that were refused")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    photos = None if args.photos is None else chosen(args.photos, args.work)
    cells = Cells(args.output, CELL)
    for each in listed(args.work / "structures.json"):
        if each.module not in args.modules or each.parameters > args.largest * 1e6:
            continue
        place = (each.module, each.name)
        old = cells.rows.get(place)
        done = old is not None and (photos is None or {"compile_seconds", "refused"} & set(old))
        if done and not args.again and not (args.refused and old is not None and "refused" in old):
            continue
        cells.rows.pop(place, None)
        folder = args.work / f"{os.getpid()}"
        made = {"args": each.args, "names": len(each.names)}
        made |= apart(partial(examined, each.name, photos, model_args=each.args), folder, 60 * args.minutes)
        cells.get(dict(zip(CELL, place, strict=True)), [each.args], lambda made=made: made)  # type: ignore[misc]
        print(
            each.module, each.name, {k: v for k, v in made.items() if k not in ("args", "names")}, file=sys.stderr, flush=True
        )
    cells.show(COLUMNS)


def listed(kept: Path) -> list[Structure]:
    """The structures, smallest first; the list takes minutes and is kept."""
    if not kept.exists():
        kept.write_text(json.dumps([asdict(each) for each in structures(MODULES)]))
    found = [Structure(**each) for each in json.loads(kept.read_text())]
    return sorted(found, key=lambda each: each.parameters)


if __name__ == "__main__":
    main()
