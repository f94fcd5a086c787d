"""Wall times of whole compiles from the command line, each a fresh process with a cache folder of its own.

    python -m bench.workstation.compile_times            (figures in bench/results/compile_times.json)

The model's weights are random, but come from a checkpoint, so that nothing is left out as it is for weights known to be random;
images are random or from --data, labels are random. Peak memory is the process's own. Limits: `compile --plan` with cached
calibration 90 s, all cached 15 s, a whole compile from nothing with 32 calibration and 64 sensitivity images 300 s.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.process import lampq
from bench.common.run import arguments, finish, machine

COLUMNS = ("what", "target", "seconds", "limit_s", "cpu_seconds", "peak_rss_mib", "kept")
JETSON = "jetson-agx-orin-64gb:cpu"


def make_checkpoint(model: str, path: Path) -> None:
    """Random weights as a safetensors file."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file({k: v.contiguous() for k, v in timm.create_model(model).state_dict().items()}, path)


def make_images(path: Path, count: int, size: int) -> None:
    """Random images, smooth enough that patches differ, with random labels of 1,000 classes."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, size // 16, size // 16, 3), np.uint8)
    images = coarse.repeat(16, 1).repeat(16, 2) // 2 + rng.integers(0, 128, (count, size, size, 3), np.uint8)
    np.savez(path, images=images, labels=rng.integers(0, 1000, count))


def keep(cache: Path, fresh: Path, stages: tuple[str, ...]) -> None:
    """A new cache folder that holds only these stages of another one."""
    shutil.rmtree(fresh, ignore_errors=True)
    for stage in stages:
        shutil.copytree(cache / "stages" / stage, fresh / "stages" / stage)


def rows(model: str, work: Path, data: Path, calib: int, sens: int, budget: str) -> Iterator[dict[str, Any]]:
    """One row per compile."""
    checkpoint = work / "checkpoint.safetensors"
    make_checkpoint(model, checkpoint)
    caches = {name: work / f"cache-{name}" for name in ("nothing", "calibrated", "jetson")}
    for cache in caches.values():
        shutil.rmtree(cache, ignore_errors=True)
    counts = ["--calib-images", str(calib), "--sens-images", str(sens)]
    shared = [model, "--checkpoint", str(checkpoint), "--data", str(data), *counts]
    whole = [*shared, "--budget", budget, "-o", str(work / "whole.lampq")]
    plan = work / "plan.json"
    planned = [*shared, "--plan", str(plan), "-o", str(work / "planned.lampq")]
    what = f"whole compile, {calib} + {sens} images, {budget}"
    yield {"what": what, "limit_s": 300, "kept": "nothing", **lampq("compile", whole, caches["nothing"], work / "whole.log")}
    lampq("plan", [*shared, "--budget", budget, "-o", str(plan)], caches["nothing"], work / "plan.log")
    keep(caches["nothing"], caches["calibrated"], ("calibrate",))
    found = lampq("compile", planned, caches["calibrated"], work / "planned.log")
    yield {"what": "compile --plan", "limit_s": 90, "kept": "calibration", **found}
    found = lampq("compile", planned, caches["calibrated"], work / "cached.log")
    yield {"what": "compile --plan", "limit_s": 15, "kept": "everything", **found}
    keep(caches["nothing"], caches["jetson"], ("calibrate",))
    crossed = [*planned, "--target", JETSON]
    for kept in ("calibration", "calibration, cross linker"):
        keep_linker(caches["jetson"], kept)
        found = lampq("compile", crossed, caches["jetson"], work / "jetson.log")
        yield {"what": "compile --plan", "target": JETSON, "kept": kept, **found}


def keep_linker(cache: Path, kept: str) -> None:
    """Remove the built artifact where the cross linker alone shall stay warm."""
    if "linker" in kept:
        for stage in ("build", "quantize", "import"):
            shutil.rmtree(cache / "stages" / stage, ignore_errors=True)


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "compile_times")
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--data", type=Path, help="folder of class folders or .npz; random images where left out")
    parser.add_argument("--calib-images", type=int, default=32)
    parser.add_argument("--sens-images", type=int, default=64)
    parser.add_argument("--budget", default="4bit")
    parser.add_argument("--size", type=int, default=224, help="side of the random images")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    data = args.data or args.work / "images.npz"
    if args.data is None:
        make_images(data, max(args.calib_images, args.sens_images), args.size)
    facts, done = machine(), []
    for row in rows(args.model, args.work, data, args.calib_images, args.sens_images, args.budget):
        done.append({"target": "host", "limit_s": None, **row})
        print(f"{row['what']}, {row['kept']} cached: {row['seconds']:.1f} s", file=sys.stderr, flush=True)
    finish(args.output, COLUMNS, done, machine=facts, model=args.model, load_after=machine()["load_before"])


if __name__ == "__main__":
    main()
