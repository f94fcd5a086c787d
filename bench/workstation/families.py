"""What a compile of each family takes from nothing, and how near its payload comes to the bytes that cannot be avoided.

    python -m bench.workstation.families            (figures in bench/results/families.json)

8 bits, 8 random calibration images, random weights, this machine's CPU, a fresh process with a cache of its own each. A compile
ends with two images' logits equal to the reference's bit for bit, or fails. `cpu_s` are seconds of one core's time.
"""

from __future__ import annotations

import os
import shutil
import sys

from bench.common.process import lampq
from bench.common.run import arguments, finish, machine
from bench.common.sizes import unavoidable_bytes, weight_bytes
from lampq_tvm.api.looking import inspect
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline

MODELS = {
    "swin_tiny_patch4_window7_224": "Swin-T",
    "swinv2_tiny_window8_256": "SwinV2-T, window 8",
    "vit_base_patch16_224": "ViT-B/16",
    "eva02_tiny_patch14_224": "EVA-02-T, patches of 14",
    "beit_base_patch16_224": "BEiT-B/16",
    "vit_base_patch16_siglip_224": "SigLIP-B/16",
}
COLUMNS = ("model", "size", "cpu_s", "peak_gb", "of_weights", "of_unavoidable")


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "families")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for model in args.models:
        cache, artifact = args.work / "cache", args.work / f"{model}.lampq"
        shutil.rmtree(cache, ignore_errors=True)
        asked = [model, "--target", "host", "--budget", "8bit", "--calib-images", "8", "-o", str(artifact)]
        took = lampq("compile", asked, cache, args.work / f"{model}.log")
        os.environ["LAMPQ_CACHE"] = str(cache)
        qm = Pipeline(Options(model, budgets=("8bit",), calib_images=8)).quantized
        payload = inspect(artifact)["payload_bytes"]
        row = {"model": MODELS[model], "size": qm.input.height, "cpu_s": round(took["cpu_seconds"])}
        row |= {"peak_gb": round(took["peak_rss_mib"] * 1024**2 / 1e9, 1), "of_weights": round(payload / weight_bytes(qm), 3)}
        rows.append(row | {"of_unavoidable": round(payload / unavoidable_bytes(qm), 3), "payload_bytes": payload})
        print(f"{MODELS[model]}: {row['cpu_s']} s", file=sys.stderr, flush=True)
    finish(args.output, COLUMNS, rows, machine=machine())


if __name__ == "__main__":
    main()
