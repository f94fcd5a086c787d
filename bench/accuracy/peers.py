"""Ours beside other libraries' quantization without training, on the same model, calibration and test images.

    python -m bench.accuracy.peers                   (Fashion-MNIST; figures in bench/results/accuracy_peers.json)
    python -m bench.accuracy.peers --cifar FOLDER --models cifar10_vit cifar10_swin

Brevitas (with GPTQ), NVIDIA's Model-Optimizer, NNCF and ONNX Runtime, each with what its own guide advises, as far as it
goes; their figures are of quantization played in floats, but for ONNX Runtime's, ours of the compiled artifact. `left` says
what a library leaves in float; in ours attention's products have 8 bits at every width.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm

from bench.common.cells import Cells
from bench.common.peers.environment import Environment, execute
from bench.common.run import arguments, machine
from bench.common.subjects import CIFAR, Subject, depends, divergence, evaluated, float_answers, subject
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.errors import DeviceError
from lampq_tvm.network.execute import normalize
from lampq_tvm.store import digest

CELL = ("model", "library", "widths", "images", "calib_images")
COLUMNS = (*CELL, "top1", "drop", "kl", "left", "seconds")
SCRIPT = Path(__file__).resolve().parents[1] / "common" / "peers" / "foreign_quantize.py"
WIDTHS = ("8/8", "4/8", "4/4", "3/3")
# Installed alone, and run on this project's own torch: what they ask for besides would bring another one.
BARE = (
    "brevitas", "unfoldNd", "dependencies==2.0.1", "nncf", "openvino-telemetry", "natsort", "networkx", "pydot", "scikit-learn",
    "joblib", "threadpoolctl", "nvidia-modelopt", "nvidia-ml-py", "pulp", "omegaconf", "antlr4-python3-runtime==4.9.3", "regex",
    "ninja", "requests", "urllib3", "idna", "certifi", "charset-normalizer", "pandas", "pytz", "rich", "pygments",
)  # fmt: skip
LIBRARIES = Environment(("tabulate",), BARE)
PACKAGES = ("brevitas", "nvidia-modelopt", "nncf")
METHODS = {"brevitas": "Brevitas, GPTQ", "modelopt": "Model-Optimizer", "nncf": "NNCF", "onnxruntime": "ONNX Runtime"}
OURS = "lampq-tvm"
LEFT = "residual stream, norms' sums"


def write(own: Subject, options: Options, folder: Path) -> None:
    """What the other libraries read: the model, its weights, and the images that our calibration draws."""
    pipeline = Pipeline(options)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps({"name": own.options["model"], "arguments": own.arguments}))
    shutil.copy(own.options["checkpoint"], folder / "weights.safetensors")
    images = np.concatenate([pixels for pixels, _ in pipeline.calib_data])
    for name, pixels in (("calibration", images), ("test", own.images)):
        np.save(folder / f"{name}.npy", normalize(pixels, pipeline.model.input).numpy())


def foreign(method: str, widths: str, own: Subject, exact: np.ndarray, folder: Path) -> dict[str, Any]:
    """A library's row; one with `left` alone where it does not go so far."""
    start, python = time.perf_counter(), str(LIBRARIES.python())
    command = [python, "-P", str(SCRIPT), method, str(folder), *widths.split("/")]
    try:
        execute(["env", f"PYTHONPATH={Path(timm.__file__).parents[1]}", *command], METHODS[method])
    except DeviceError as e:
        _, told, why = str(e).partition("no further: ")
        if not told:  # it failed
            raise
        return {"left": why.rstrip(")")}
    found = np.load(folder / "logits.npy")
    figures = answers(found, exact, own) | {"left": json.loads((folder / "left.json").read_text())}
    return figures | {"seconds": round(time.perf_counter() - start, 1)}


def answers(found: np.ndarray, exact: np.ndarray, own: Subject) -> dict[str, Any]:
    """Accuracy, what it lost, divergence from the float model."""
    right, before = (float((x.argmax(1) == own.labels).mean()) for x in (found, exact))
    return {"top1": right, "drop": round(100 * (before - right), 3), "kl": round(divergence(exact, found), 5)}


def ours(widths: str, options: Options, own: Subject, exact: np.ndarray, folder: Path) -> dict[str, Any]:
    """The row of `default`, from its artifact."""
    figures = evaluated(options, widths, folder, own, exact)
    return {name: figures[name] for name in ("top1", "drop", "kl", "seconds")} | {"left": LEFT}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "accuracy_peers")
    parser.add_argument("--models", nargs="+", default=["fashion_mnist"], choices=["fashion_mnist", *CIFAR])
    parser.add_argument("--cifar", type=Path, help="folder of train/CLASS/*.jpg and test/CLASS/*.jpg")
    parser.add_argument("--only", nargs="+", default=[OURS, *METHODS.values()], choices=[OURS, *METHODS.values()])
    parser.add_argument("--images", type=int, default=2000, help="of the test set")
    parser.add_argument("--calib-images", type=int, default=512)
    args = parser.parse_args()
    others = set(args.only) - {OURS}
    packages = {name: LIBRARIES.version(name) for name in PACKAGES} if others else {}
    versions = packages | machine()["versions"]
    cells = Cells(args.output, CELL, **({"libraries": packages} if packages else {}))
    for name in args.models:
        own = subject(name, args.cifar, args.images)
        options = Options(**own.options, calib_images=args.calib_images, sens_images=args.calib_images)
        exact, folder = float_answers(own), args.work / name
        write(own, options, folder)
        given = [Pipeline(options).calib_data.fingerprint, digest(own.options["checkpoint"].read_bytes())]
        for widths in WIDTHS:
            makers: dict[str, tuple[object, Callable[[], dict[str, Any]]]]
            makers = {OURS: (depends(Pipeline(options), widths), partial(ours, widths, options, own, exact, folder))}
            for method, library in METHODS.items():
                made = partial(foreign, method, widths, own, exact, folder)
                makers[library] = ([given, SCRIPT.read_text(), versions], made)
            for library, (depend, compute) in makers.items():
                if library not in args.only:
                    continue
                facts = (name, library, widths, len(own.labels), args.calib_images)
                found = cells.get(dict(zip(CELL, facts, strict=True)), depend, compute)
                print(name, library, widths, found.get("top1"), file=sys.stderr, flush=True)
    cells.show(COLUMNS)


if __name__ == "__main__":
    main()
