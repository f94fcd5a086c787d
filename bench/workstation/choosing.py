"""Time and memory until a plan of DeiT-S at 224 x 224 stands: calibration, sensitivity, the integer program, one after another.

    python -m bench.workstation.choosing --data FOLDER     (figures in bench/results/choosing.json)

Each stage is a process of its own that finds what came before in the cache. Random weights: neither time nor memory depends on
them. `mib`: most memory of the process; it must not grow with the number of images (without --data they are random ones, which
lie in memory all together).
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench.common.cells import Cells
from bench.common.process import measured
from bench.common.run import arguments, machine
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.sources import package_digest

STAGES = ("calibration", "sensitivity", "plan")
CELL = ("model", "data", "images", "cpu")
COLUMNS = (*CELL, *(f"{stage}_{what}" for stage in STAGES for what in ("seconds", "mib")))


def stage(name: str, model: str, images: str, data: str = "") -> None:
    """What the process of a stage does."""
    folder = Path(data) if data else None
    pipeline = Pipeline(Options(model, data=folder, budgets=("4bit",), calib_images=int(images), sens_images=int(images)))
    getattr(pipeline, name)


def stages(model: str, images: int, data: Path | None) -> dict[str, Any]:
    """Seconds, and most memory, of each stage's process."""
    row: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in STAGES:
            module = ["bench.workstation.choosing", "--stage", name, model, str(images), *([str(data)] if data else [])]
            taken = measured(module, Path(place) / "cache", Path(place) / "log")
            row |= {f"{name}_seconds": round(taken["seconds"], 1), f"{name}_mib": round(taken["peak_rss_mib"])}
    return row


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "choosing")
    parser.add_argument("--model", default="deit_small_patch16_224")
    parser.add_argument("--data", type=Path, help="images as for `lampq calibrate`; random ones where left out")
    parser.add_argument("--images", type=int, nargs="+", default=[64, 256])
    args = parser.parse_args()
    cells, here = Cells(args.output, CELL), machine()
    for images in args.images:
        made = partial(stages, args.model, images, args.data)
        cell = {"model": args.model, "data": "photos" if args.data else "random", "images": images, "cpu": here["cpu"]}
        print(cells.get(cell, [package_digest(), here["versions"]], made), file=sys.stderr, flush=True)
    cells.show(COLUMNS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stage"]:
        stage(*sys.argv[2:])
    else:
        main()
