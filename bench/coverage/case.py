"""One model: whether it imports, how much of it is integer, and how its artifact answers beside it on photos."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.subjects import artifact_answers, compiled, logits_of
from lampq_tvm.api.looking import inspect
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.running import float_logits
from lampq_tvm.data import open_dataset
from lampq_tvm.errors import LampqError
from lampq_tvm.network.macs import Part, float_parts, total_macs
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.spread import one_thread

CALIBRATION = 128  # photos


def examined(model: str, photos: tuple[Path, Path] | None, folder: Path, **options: Any) -> dict[str, Any]:
    """All that the table says of a model; without photos only of its import.

    Args:
        model: a timm name, a folder or a file; options: of its import.
        photos: folders of those that calibrate, and of those that are looked at.
        folder: for the artifact.
    """
    start = time.perf_counter()
    row: dict[str, Any] = {}
    asked = Options(model, data=photos and photos[0], calib_images=CALIBRATION, **options)
    try:
        network = Pipeline(asked).model
        parts = float_parts(network)
        row |= {"imports": True, "import_seconds": round(time.perf_counter() - start, 1), **shares(network, parts)}
        if photos is not None:
            row |= _answers(asked, network, photos[1], folder)
    except LampqError as e:
        row |= {"refused": e.what, "where": e.where, "exit": e.exit_code}
    except Exception as e:  # a bug of ours: it belongs into the table
        row |= {"refused": f"{type(e).__name__}: {e}"[:300], "exit": 1}
    return row | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def _answers(options: Options, network: ImportedModel, photos: Path, folder: Path) -> dict[str, Any]:
    """Compiles the model at 8 bits, and runs it on photos."""
    start = time.perf_counter()
    artifact, _ = compiled(options, "8/8", folder)
    seconds = round(time.perf_counter() - start, 1)
    found = answers(network, artifact, photos)
    parts = float_parts(network, {part["name"] for part in inspect(artifact)["parts"]})  # also products that codes do not suit
    return {"compile_seconds": seconds, "correlation": found, **shares(network, parts)}


def answers(network: ImportedModel, artifact: Path, photos: Path) -> float:
    """Correlation of a host artifact's outputs with the float model's on photos."""
    images = np.concatenate([pixels for pixels, _ in open_dataset(photos, network.input)])
    with one_thread():
        exact = logits_of(partial(float_logits, network), images)
    return round(correlation(exact, artifact_answers(artifact, images)), 4)


def shares(network: ImportedModel, parts: Sequence[Part]) -> dict[str, float]:
    """Shares of the multiply-adds: of integer operators, and of convolutions that stay float."""
    convolutions = sum(n for part in parts for name, n in part.macs_by.items() if "conv" in name)
    total = total_macs(network, parts)
    return {
        "gmacs": round(total / 1e9, 3),
        "integer": round(1 - sum(part.macs for part in parts) / total, 4),
        "convolutions": round(convolutions / total, 4),
        "float_parts": len(parts),
    }


def correlation(exact: np.ndarray, found: np.ndarray) -> float:
    """Of outputs [N, ...] less their mean over the images: random weights answer nearly alike to every image."""
    a, b = centred(exact), centred(found)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def centred(output: np.ndarray) -> np.ndarray:
    """A flat vector."""
    wide = output.astype(np.float64)
    return np.asarray(wide - wide.mean(0)).ravel()
