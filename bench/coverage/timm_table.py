"""Every structure of timm's transformers, with random weights and few blocks: does it import and compile, and is it right?

    python -m bench.coverage.timm_table --photos FOLDER --work FOLDER       (bench/results/coverage.json)
    python -m bench.coverage.timm_table --work FOLDER                       (imports alone)
    python -m bench.coverage.timm_table ... --modules xcit cait --again     (some of them anew)

`integer`: share of the multiply-adds in integer operators; `convolutions`: that of convolutions which stay float;
`correlation`: between the 8-bit host artifact's outputs and the float model's on photos that did not calibrate, less their mean
over the photos. A model is a process of its own, forked from one that has loaded everything; what the file has is kept.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.common.cells import Cells
from bench.common.photos import halves
from bench.common.run import arguments
from bench.coverage.case import examined
from bench.coverage.names import MODULES, Structure, structures

CELL = ("module", "name")
COLUMNS = (*CELL, "names", "gmacs", "integer", "convolutions", "correlation", "compile_seconds", "peak_mib", "refused")
TESTED = 64  # photos that are looked at


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
    photos = None
    if args.photos is not None:
        calibration, test = halves(args.photos, args.work)
        photos = calibration, few(test, args.work / "looked_at")
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
        made = {"args": each.args, "names": len(each.names)} | apart(each, photos, folder, 60 * args.minutes)
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


def few(photos: Path, folder: Path) -> Path:
    """A folder of links to some photos."""
    folder.mkdir(exist_ok=True)
    files = sorted(photos.iterdir())
    for path in files[:: max(1, len(files) // TESTED)][:TESTED]:
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())
    return folder


def apart(each: Structure, photos: tuple[Path, Path] | None, folder: Path, seconds: int) -> dict[str, Any]:
    """The row of a model, made by a process of its own; what it says where it ends early."""
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_child, args=(there, each.name, each.args, photos, folder))
    child.start()
    pid = child.pid
    assert pid is not None, "it was started"
    there.close()
    try:
        found: dict[str, Any] = here.recv() if here.poll(seconds) else {"refused": f"not done in {seconds} s", "exit": 1}
    except EOFError:
        child.join()
        found = {"refused": f"ended with {child.exitcode}", "exit": 1}
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # and what it started
    child.join()
    shutil.rmtree(folder)
    return found


def _child(pipe: Any, name: str, args: dict[str, Any], photos: tuple[Path, Path] | None, folder: Path) -> None:
    os.environ["LAMPQ_CACHE"] = str(folder / "cache")
    os.setsid()
    with (folder / "log").open("w") as log:
        os.dup2(log.fileno(), 2)
        pipe.send(examined(name, args, photos, folder))


if __name__ == "__main__":
    main()
