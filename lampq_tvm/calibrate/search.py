"""Search for the quantizer of a layer's input: scale and zero point together, by the error of the layer's output.

All pairs of a lower and an upper end are ranked first by an error that knows each channel's weight norm but not the
correlation of channels; it needs only a histogram. The best of them, and always the full range, are then measured with the
output error on the sample rows, and the winner's ends are moved in small steps. The two ends move apart from each other:
where one is near zero, as after GELU, shrinking both in proportion would only remove its zero point.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.calibrate.fake import fake_quantize
from lampq_tvm.quantizers.uniform import Uniform

BINS = 2048
SHRINK = tuple(0.88**i for i in range(26))  # fractions of an end, 1 .. 0.04
FINALISTS = 6
STEPS = (0.06, 0.03)

F64 = npt.NDArray[np.float64]


def search_activation(rows: Tensor, weight: Tensor, low: float, high: float, widths: tuple[int, ...]) -> dict[int, Uniform]:
    """Quantizers of a layer's input at every width: min-max at 8 bits, searched below.

    Args:
        rows: [R, K] float32 sampled inputs.
        weight: [N, K] float32.
        low, high: the input's full range.
        widths: candidate widths.
    """
    mixer = output_mixer(weight)
    centres, mass = weighted_histogram(rows, weight.square().sum(0), low, high)
    found = {}
    for bits in widths:
        full = Uniform.of_range(low, high, bits)
        found[bits] = full if bits >= 8 else _search(rows, mixer, centres, mass, (low, high), bits)
    return found


def output_mixer(weight: Tensor) -> Tensor:
    """L [K, min(N, K)] with ||d L|| = ||d W^T|| for every row d: W^T itself, or a square factor of W^T W where N > K."""
    if weight.shape[0] <= weight.shape[1]:
        return weight.T.contiguous()
    factor: Tensor = torch.linalg.qr(weight.double(), mode="r").R
    return factor.T.float().contiguous()


def weighted_histogram(rows: Tensor, importance: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """(bin centres [BINS], summed importance of the values in each bin [BINS]); importance [K] is per channel."""
    step = max(high - low, 1e-8) / BINS
    index = ((rows - low) / step).long().clamp(0, BINS - 1).flatten()
    mass = torch.bincount(index, weights=importance.double().expand(rows.shape).flatten(), minlength=BINS)
    return low + (torch.arange(BINS) + 0.5) * step, mass.float()


def _search(rows: Tensor, mixer: Tensor, centres: Tensor, mass: Tensor, ends: tuple[float, float], bits: int) -> Uniform:
    """The best quantizer of one width."""
    pairs = [(ends[0] * a, ends[1] * b) for a in SHRINK for b in SHRINK]
    candidates = Uniform.candidates(*ends, bits, SHRINK)
    order = torch.argsort(_histogram_errors(centres, mass, candidates), stable=True)[:FINALISTS].tolist()
    best, error = ends, output_error(rows, mixer, Uniform.of_range(*ends, bits))
    for pair in (pairs[i] for i in order):
        best, error = _better(rows, mixer, bits, best, error, pair)
    for step in STEPS:
        for a, b in ((1 - step, 1), (1 + step, 1), (1, 1 - step), (1, 1 + step)):
            best, error = _better(rows, mixer, bits, best, error, (best[0] * a, best[1] * b))
    return Uniform.of_range(*best, bits)


def _better(
    rows: Tensor, mixer: Tensor, bits: int, best: tuple[float, float], error: float, pair: tuple[float, float]
) -> tuple[tuple[float, float], float]:
    """`pair` and its error where it is smaller than `error`, else what was best."""
    found = output_error(rows, mixer, Uniform.of_range(*pair, bits))
    return (pair, found) if found < error else (best, error)


def output_error(rows: Tensor, mixer: Tensor, candidate: Uniform) -> float:
    """Squared error of the layer's output when its input rows are quantized, summed."""
    return float(((fake_quantize(rows, candidate) - rows) @ mixer).square().sum(dtype=torch.float64))


def _histogram_errors(centres: Tensor, mass: Tensor, candidates: list[Uniform]) -> Tensor:
    """Weighted squared error of every candidate: [candidates]."""
    scale = torch.tensor([q.scale for q in candidates])[:, None]
    zero = torch.tensor([float(q.zero) for q in candidates])[:, None]
    codes = (centres / scale).add_(zero).round_().clamp_(candidates[0].low, candidates[0].high)
    errors: Tensor = codes.sub_(zero).mul_(scale).sub_(centres).square_() @ mass
    return errors
