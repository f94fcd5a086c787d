"""Whether layers in two thin factors would ever be chosen: their error beside plain integer weights of as many bits.

    python -m bench.accuracy.factored                              (Fashion-MNIST; figures in bench/results/factored.json)
    python -m bench.accuracy.factored --weights FOLDER/vit_s14.safetensors --photos FOLDER       (a trained ViT-S/14 too)

For each layer, on sampled inputs of the calibrated model, error |X (W' - W)^T|^2 / |X W^T|^2 of
  dense      W at b bits, columns compensated;
  factors    W' = U V of rank r, the best for these inputs, both at 8 bits, r such that they have as many bits as `dense`;
  train      a tensor train of two cores at 8 bits with as many bits, W'[(i j), (k l)] = sum_r A[i k, r] B[r, j l]: the best
             of all ways to cut outputs and inputs by 2, 4, 8 or 16, nearest to W (to the inputs it cannot be fitted);
  branch     W at b - 1 bits and beside it U V at 8 bits with as many bits as the one that was given up (SVDQuant, ICLR 2025, or
             of the rounding's error: LQER, ICML 2024; the better of both).
Each figure is the geometric mean over layers of the error over that of `dense`; `better`: layers where it is below.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.common.cells import Cells
from bench.common.photos import MODEL, SIZE, halves
from bench.common.run import arguments
from bench.common.subjects import subject
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.refit import low_rank
from lampq_tvm.calibrate.roundings.compensated import compensated_codes
from lampq_tvm.calibrate.search_weights import search_weights
from lampq_tvm.network.model import Layer

CELL = ("model", "bits")
COLUMNS = (*CELL, "layers", *(f"{form}{what}" for form in ("factors", "train", "branch") for what in ("", "_better")))
DAMPING = 0.02
FACTORS = 8  # bits of U and V
CUTS = (2, 4, 8, 16)


def rounded(weight: Tensor, moments: Tensor, bits: int) -> Tensor:
    """Values of compensated codes of weights [N, K] under moments [K, K]."""
    found = search_weights(weight.float().contiguous(), moments.float(), bits)
    codes = compensated_codes(weight.float(), {bits: found}, moments, DAMPING)[bits]
    return torch.from_numpy(found.values(codes)).double()


def thin(change: Tensor, moments: Tensor, rank: int) -> Tensor:
    """The best W' of a rank for inputs of these moments, its factors with codes of 8 bits."""
    left, size, right = torch.linalg.svd(low_rank(change, moments, rank), full_matrices=False)
    root = size[:rank].sqrt()
    U, V = left[:, :rank] * root, root[:, None] * right[:rank]
    return plain(U) @ plain(V)


def train(weight: Tensor, bits: int, error: Callable[[Tensor], float]) -> float:
    """Least error of a train of two cores with as many bits as weights [N, K] of `bits`."""
    n, k = weight.shape
    found = []
    for i, j in itertools.product(CUTS, CUTS):
        if n % i or k % j:
            continue
        turned = weight.reshape(i, n // i, j, k // j).permute(0, 2, 1, 3).reshape(i * j, -1)
        rank = max(1, bits * n * k // (FACTORS * sum(turned.shape)))
        left, size, right = torch.linalg.svd(turned, full_matrices=False)
        root = size[:rank].sqrt()
        cores = plain(left[:, :rank] * root) @ plain(root[:, None] * right[:rank])
        found.append(error(cores.reshape(i, j, n // i, k // j).permute(0, 2, 1, 3).reshape(n, k)))
    return min(found)


def plain(matrix: Tensor) -> Tensor:
    """Rows at 8 bits, rounded to nearest."""
    scale = matrix.abs().amax(1, keepdim=True).clamp_min(1e-12) / ((1 << (FACTORS - 1)) - 1)
    return (matrix / scale).round() * scale


def forms(weight: Tensor, rows: Tensor, bits: int) -> dict[str, float]:
    """Error of each form of a layer."""
    moments = rows.T @ rows / len(rows)
    moments += 1e-6 * moments.diagonal().mean() * torch.eye(len(moments), dtype=torch.float64)
    n, k = weight.shape

    def rank(share: int) -> int:
        return max(1, share * n * k // (FACTORS * (n + k)))

    def error(values: Tensor) -> float:
        return float((rows @ (values - weight).T).square().sum() / (rows @ weight.T).square().sum())

    found = {"dense": error(rounded(weight, moments, bits)), "factors": error(thin(weight, moments, rank(bits)))}
    found["train"] = train(weight, bits, error)
    if bits > 2:
        first = thin(weight, moments, rank(1))
        before = error(first + rounded(weight - first, moments, bits - 1))
        narrow = rounded(weight, moments, bits - 1)
        found["branch"] = min(before, error(narrow + thin(weight - narrow, moments, rank(1))))
    return found


@torch.no_grad()
def row(calibration: Calibration, layers: list[Layer], bits: int) -> dict[str, Any]:
    """Over all layers."""
    ratios: dict[str, list[float]] = {}
    for layer in layers:
        weight = torch.from_numpy(calibration.model.tensors[f"{layer.name}.weight"]).double()
        found = forms(weight, torch.from_numpy(calibration.samples[layer.name]).double(), bits)
        dense = found.pop("dense")
        for form, error in found.items():
            ratios.setdefault(form, []).append(error / dense)
    told: dict[str, Any] = {"layers": len(layers)}
    for form, own in ratios.items():
        told[form] = round(float(np.exp(np.mean(np.log(own)))), 2)
        told[f"{form}_better"] = sum(ratio < 1 for ratio in own)
    return told


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "factored")
    parser.add_argument("--weights", type=Path, help="what bench.model.vit_s14 wrote")
    parser.add_argument("--photos", type=Path, help="folder of image files")
    args = parser.parse_args()
    requests = {"fashion_mnist": Options(**subject("fashion_mnist", None, 1).options, calib_images=512)}
    if args.weights is not None:
        photos, _ = halves(args.photos, args.work)
        requests["vit_s14"] = Options(MODEL, checkpoint=args.weights, model_args=SIZE, data=photos, calib_images=128)
    cells = Cells(args.output, CELL)
    for name, options in requests.items():
        pipeline = Pipeline(options)
        layers = [layer for layer in pipeline.model.layers if not layer.reads_image]
        for bits in (2, 3, 4):
            made = partial(row, pipeline.calibration, layers, bits)
            depends = [pipeline.calibration_key, Path(__file__).read_text("utf-8")]
            print(cells.get({"model": name, "bits": bits}, depends, made), file=sys.stderr, flush=True)
    cells.show(COLUMNS)


if __name__ == "__main__":
    main()
