"""The kit that a board owner measures: artifacts for the board, ONNX models for TensorRT, and what the outputs must be.

    python -m bench.jetson.kit --target jetson-agx-orin-64gb@jp6 --models deit_tiny_patch16_224 deit_small_patch16_224

No GPU is needed. Weights are random, which no time depends on. The same plan is compiled for this machine's CPU, whose logits
on two images go into the kit: the board's must be the same, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import lampq_tvm
from bench.common.run import ROOT
from lampq_tvm.quiet import quiet
from lampq_tvm.store import write_atomic

PLANS = {"8/8": "8bit", "4/4": "4bit"}
IMAGES = {"calib_images": 32, "sens_images": 64}  # random ones: the plan's times do not depend on them
BOARD = ("bench/__init__.py", "bench/jetson/__init__.py", "bench/jetson/board.py")
PEER = tuple(f"bench/common/{name}.py" for name in ("__init__", "peers/__init__", "peers/trtexec"))
PARTS = BOARD + PEER  # what the board runs, and all that it imports
CHECKED = 2  # images whose logits are compared


def artifacts(model: str, target: str, batch: int, folder: Path) -> list[dict[str, Any]]:
    """Compile each plan for the board and for this machine, and keep what the logits must be."""
    rows = []
    for label, budget in PLANS.items():
        stem = f"{model}-{budget}-{batch}"
        plan, host = folder / f"{stem}.plan.json", folder / f"{stem}.host.lampq"
        lampq_tvm.plan(model, output=plan, target="host", budgets=(budget,), **IMAGES)
        lampq_tvm.compile(model, output=host, target="host", plan=plan, **IMAGES)
        lampq_tvm.compile(model, output=folder / f"{stem}.lampq", target=target, plan=plan, batch=batch, **IMAGES)
        runner = lampq_tvm.load(host)
        images = np.random.default_rng(0).integers(0, 256, (CHECKED, *runner.image_shape), np.uint8)
        np.savez(folder / f"{stem}.npz", images=images, logits=runner(images))
        host.unlink()
        rows.append({"plan": label, "artifact": f"{stem}.lampq", "check": f"{stem}.npz"})
    return rows


def float_model(model: str, batch: int, folder: Path) -> str:
    """The ONNX file that trtexec takes."""
    import timm

    torch.manual_seed(0)
    module = timm.create_model(model).eval()
    shape = (batch, *module.default_cfg["input_size"])
    with quiet():
        program = torch.onnx.export(module, (torch.zeros(shape),), dynamo=True, verbose=False)
    name = f"{model}-{batch}.onnx"
    onnx.save(program.model_proto, folder / name)
    return name


def main() -> None:
    """Make a kit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="jetson-agx-orin-64gb")
    parser.add_argument("--models", nargs="+", default=["deit_tiny_patch16_224", "deit_small_patch16_224"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "jetson-kit")
    options = parser.parse_args()
    kit = options.output
    kit.mkdir(parents=True, exist_ok=True)
    cases = []
    for model in options.models:
        for batch in options.batches:
            files = {"onnx": float_model(model, batch, kit), "ours": artifacts(model, options.target, batch, kit)}
            cases.append({"model": model, "batch": batch, **files})
    write_atomic(kit / "kit.json", (json.dumps({"target": options.target, "cases": cases}, indent=1) + "\n").encode())
    for name in PARTS:
        (kit / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, kit / name)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(kit), str(ROOT)]
    if subprocess.run(wheel).returncode:
        print("no wheel was made (pip is missing here): copy the checkout to the board and install it from there")
    print(f"copy {kit} to the board; there: pip install lampq_tvm-*.whl && python -m bench.jetson.board .")


if __name__ == "__main__":
    main()
