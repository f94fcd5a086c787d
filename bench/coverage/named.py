"""Models that people ask for, whole and at their own size, compiled for a place and checked there.

    python -m bench.coverage.named --photos FOLDER --work FOLDER            (bench/results/named.json)
    python -m bench.coverage.named ... --places host raspberry-pi-5         (some of the places)

Each artifact is compared with the reference before it is written: on this machine, on the emulated Arm board, or on the
interpreter of its PTX; in every bit, and where parts stay float, operator by operator on the artifact's own inputs. Random
weights. `correlation` as of `bench.coverage.timm_table`, on this machine. A case is a process of its own.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.common.cells import Cells, Row
from bench.common.run import arguments
from bench.common.subjects import compiled
from bench.coverage.apart import apart, chosen
from bench.coverage.case import answers, shares
from bench.coverage.forms import folder as hub_folder
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.errors import LampqError
from lampq_tvm.network.macs import float_parts
from lampq_tvm.sources import package_digest

CELL = ("case", "place")
COLUMNS = (*CELL, "outputs", "gmacs", "integer", "float_parts", "correlation", "seconds", "refused")
PLACES = {"host": None, "raspberry-pi-5": "emulated", "jetson-agx-orin-64gb": None}  # and what an artifact for it is checked on
CALIBRATION = 32  # photos


@dataclass(frozen=True)
class Case:
    """A model, its options, and the places that it goes to."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    places: tuple[str, ...] = ("host", "raspberry-pi-5")


EVERYWHERE = tuple(PLACES)
LEVELS = {"features": "2,5,8,11", "feature_form": "tokens"}
CASES = {
    "DINOv2-S, registers, four levels, 518x518": Case(
        "vit_small_patch14_reg4_dinov2", {**LEVELS, "size": (518, 518)}, EVERYWHERE
    ),
    "DINOv2-S, registers, four levels, 364x490": Case(
        "vit_small_patch14_reg4_dinov2", {**LEVELS, "size": (364, 490)}, EVERYWHERE
    ),
    "DINOv3 ViT-S, tokens": Case("vit_small_patch16_dinov3", {"features": "last", "feature_form": "tokens"}, EVERYWHERE),
    "Swin-T classifier, a folder": Case("SwinForImageClassification", {}, EVERYWHERE),
    "CLIP ViT-B/32, embedding": Case("CLIPVisionModelWithProjection", {}),
    "EVA-02-CLIP-B/16": Case("eva02_base_patch16_clip_224"),
    "CaiT-XXS24": Case("cait_xxs24_224"),
    "XCiT-nano": Case("xcit_nano_12_p16_224"),
    "MobileViT-S": Case("mobilevit_s"),
    "FastViT-T8": Case("fastvit_t8"),
    "SAM ViT-B encoder": Case("samvit_base_patch16_224"),
}
OWN_SIZES: dict[str, dict[str, Any]] = {  # of folders: those of the published models
    "SwinForImageClassification": {"num_labels": 1000},
    "CLIPVisionModelWithProjection": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                                      "num_attention_heads": 12, "image_size": 224, "patch_size": 32, "projection_dim": 512},
}  # fmt: skip


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "named")
    parser.add_argument("--photos", type=Path, required=True, help="folder of image files")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES, metavar="CASE")
    parser.add_argument("--places", nargs="+", default=list(PLACES), choices=PLACES, metavar="PLACE")
    parser.add_argument("--minutes", type=int, default=30, help="that a case may take")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    photos, cells = chosen(args.photos, args.work), Cells(args.output, CELL)
    for name in args.cases:
        for place in (place for place in CASES[name].places if place in args.places):
            compute = partial(apart, partial(row, CASES[name], place, photos), args.work / "named", 60 * args.minutes)
            depends = [package_digest(), CASES[name].model, CASES[name].options]
            print(name, place, cells.get({"case": name, "place": place}, depends, compute), file=sys.stderr, flush=True)
    cells.show(COLUMNS)


def row(case: Case, place: str, photos: tuple[Path, Path], folder: Path) -> Row:
    """The row of a case at a place."""
    start, model = time.perf_counter(), case.model
    if case.model in OWN_SIZES:
        model = str(hub_folder(case.model, folder / "model", OWN_SIZES[case.model]))
    asked = Options(model, data=photos[0], calib_images=CALIBRATION, sens_images=CALIBRATION, target=place, **case.options)
    asked = replace(asked, device=PLACES[place])
    try:
        network = Pipeline(asked).model
        found: Row = {"outputs": [list(network.shapes[name]) for name in network.outputs]}
        artifact, _ = compiled(asked, "8/8", folder)
        found |= shares(network, float_parts(network)) | {"seconds": round(time.perf_counter() - start)}
        return found | ({"correlation": answers(network, artifact, photos[1])} if place == "host" else {})
    except LampqError as e:
        return {"refused": e.what, "where": e.where, "exit": e.exit_code}


if __name__ == "__main__":
    main()
