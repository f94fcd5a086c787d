"""Every recipe on every kind of machine: each value of its artifact against the reference, bit for bit.

    python -m bench.trust.recipe_bits           (figures in bench/results/recipe_bits.json)

A small ViT with random weights, all of its codes at one width, attention's too: on the host, on emulated Arm boards, and for a
Jetson Orin's GPU on the interpreter of its PTX. Ends with exit code 6 and the first value that differs where a bit does. Rows
are kept and made anew like those of `bench.accuracy.recipes`.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.bits import EXIT_GATE, digests
from bench.common.cells import Cells
from bench.common.distinct import sharing
from bench.common.run import arguments, machine
from lampq_tvm.artifact.container import Artifact
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.calibrate.refit import refit
from lampq_tvm.compiler.build import build
from lampq_tvm.compiler.cuda.build import build_cuda
from lampq_tvm.frontend.load import load_model
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.ptx.driver import PtxDriver
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.recipes.find import find_recipe
from lampq_tvm.runtime.runner import Runner
from lampq_tvm.sources import package_digest
from lampq_tvm.store import Units
from lampq_tvm.targets import resolve_target

CELL = ("recipe", "bits", "where", "images")
COLUMNS = (*CELL, "values", "differ")
PLACES = {"host": "host", "raspberry-pi-5": "emulated", "raspberry-pi-4": "emulated", "jetson-agx-orin-64gb": "interpreted"}
SIZE = {"img_size": 20, "patch_size": 4, "embed_dim": 36, "depth": 2, "num_heads": 3, "num_classes": 5}


@functools.cache
def model() -> ImportedModel:
    """Weights so large that no softmax is flat."""
    found, rng = load_model("vit_tiny_patch16_224", model_args=SIZE), np.random.default_rng(0)
    drawn = {k: rng.normal(0, 1.6 / v[0].size ** 0.5, v.shape) for k, v in found.tensors.items() if k.endswith("weight")}
    drawn |= {k: rng.normal(0, 0.2, v.shape) for k, v in found.tensors.items() if k.endswith("bias")}
    return dataclasses.replace(found, tensors=found.tensors | {k: v.astype(np.float32) for k, v in drawn.items()})


def pixels(count: int, seed: int) -> np.ndarray:
    """Random images of coarse squares, uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 3, 5, 5), np.uint8)
    return coarse.repeat(4, 2).repeat(4, 3)


@functools.lru_cache(maxsize=1)
def network(name: str, bits: int) -> QuantizedModel:
    """The integer network by a recipe."""
    recipe, data = find_recipe(name), [(pixels(32, 0), None)]
    plan = uniform_plan(model(), bits, bits, bits, recipe.probabilities(model(), bits))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = calibrate(model(), data, units=Units(folder / "a"), recipe=recipe, widths=(bits, 8))
        if recipe.refit is not None:
            found = refit(found, plan, data, recipe.refit, units=Units(folder / "b"), folder=folder / "c")
    return quantize(found, plan)


def runner(qm: QuantizedModel, name: str, where: str) -> Runner:
    """The compiled network in a place."""
    target = resolve_target(name)
    if where == "interpreted":
        made = build_cuda(qm, target)
        return Runner(Artifact(made.manifest, made.sections, 0), gpu=PtxDriver(made.ptx, target.isa))
    sections, manifest = build(qm, target)
    return Runner(Artifact(manifest, sections, 0), "local" if where == "host" else where)


def compared(name: str, bits: int, place: str, images: np.ndarray) -> dict[str, Any]:
    """How many values were compared, and the first operator whose values differ."""
    qm = network(name, bits)
    wanted = run_reference(qm, images, values=True)
    made = runner(qm, place, PLACES[place])
    found = made.trace(images)
    right, mine = digests(wanted), digests(found)
    differ = next((op.name for op in qm.ops if op.name in mine and mine[op.name] != right[op.name]), None)
    if differ is None and made(images).tobytes() != wanted[qm.output].tobytes():
        differ = qm.output
    return {"values": sum(value.size for value in found.values()), "differ": differ or 0}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "recipe_bits")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 3])
    parser.add_argument("--places", nargs="+", default=list(PLACES), choices=PLACES)
    args: argparse.Namespace = parser.parse_args()
    cells, images = Cells(args.output, CELL), pixels(args.images, 1)
    depends = [package_digest(), Path(__file__).read_text("utf-8"), machine()["versions"]]
    for name, same in sharing().items():
        for bits in args.bits:
            for place in args.places:
                cell = dict(zip(CELL, (name, bits, place, args.images), strict=True))
                made = functools.partial(compared, name, bits, place, images)
                row = cells.get(cell, depends, lambda made=made, same=same: {"same": same, **made()})
                print(
                    f"{name} at {bits} bits, {place}: {row['values']:,} values, differ: {row['differ']}",
                    file=sys.stderr,
                    flush=True,
                )
                if row["differ"]:
                    sys.exit(EXIT_GATE)
    cells.show(COLUMNS)


if __name__ == "__main__":
    main()
