"""Search for the scales of weights and of the attention's operands: symmetric codes, one scale per channel or head.

A symmetric range of 2^b codes has one more code below zero than above. A negative scale turns it round, so both signs are
candidates for weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.quantizers.asymmetric import WIDEST, AsymmetricWeights
from lampq_tvm.quantizers.symmetric import SymmetricHeads, SymmetricWeights, weight_range
from lampq_tvm.quantizers.twin_log import WIDEST as TWIN_LOG_WIDEST
from lampq_tvm.quantizers.twin_log import TwinLogWeights
from lampq_tvm.quantizers.weights import Weights
from lampq_tvm.registry import Registry

F32 = npt.NDArray[np.float32]
SHRINK = torch.linspace(1.0, 0.3, 36).tolist()
NARROW = 4  # bits up to which errors correlate so much that only all moments tell candidates apart
COARSE = torch.linspace(1.0, 0.3, 9).tolist()
SCALE_STEPS = ((0.95, 1.05), (0.975, 1.025))
ENDS = (1.0, 0.83, 0.66, 0.5, 0.35)  # fractions of each end, tried together
STEPS = ((0.92, 1.0, 1.08), (0.96, 1.0, 1.04))  # then from the best
FINALISTS = 6
IN_CACHE = 1 << 16  # weights that are tried at all candidates together, so that they stay in a core's cache


def search_weights(weight: Tensor, moments: Tensor, bits: int, half: Tensor | None = None) -> SymmetricWeights:
    """Quantizer of the weight rows, by the error of the layer's output.

    Args:
        weight: [N, K] float32.
        moments: [K, K] second moments of the layer's input.
        bits: width of the codes.
        half: [K, R] with half half^T = moments, for fewer operations where R is below K.

    Candidates are ranked by the diagonal of the moments; the best few per row are measured with all of them. Codes of few bits,
    whose errors the diagonal does not tell apart, are all measured with them.
    """
    low, high = (end.numpy() for end in (weight.amin(1), weight.amax(1)))
    if bits <= NARROW:
        return SymmetricWeights(bits, _narrow_scale(weight, moments, bits, half, low, high).double().numpy())
    candidates = _scales(SymmetricWeights.candidates(low, high, bits, SHRINK))
    diagonal = moments.diagonal().contiguous()
    rows = max(1, IN_CACHE // weight.shape[1])
    parts = zip(torch.split(weight, rows), torch.split(candidates, rows, 1), strict=True)
    coarse = torch.cat([torch.stack([_error(part, s, bits).square_() @ diagonal for s in scales]) for part, scales in parts], 1)
    order = torch.argsort(coarse, dim=0, stable=True)[:FINALISTS]
    best = _best_scale(weight, candidates.gather(0, order), bits, moments, half)
    return SymmetricWeights(bits, best.double().numpy())


def _narrow_scale(weight: Tensor, moments: Tensor, bits: int, half: Tensor | None, low: F32, high: F32) -> Tensor:
    """The best scale [N] of either sign: every candidate by all moments, then in small steps from the best."""
    best = _best_scale(weight, _scales(SymmetricWeights.candidates(low, high, bits, COARSE)), bits, moments, half)
    for steps in SCALE_STEPS:
        best = _best_scale(weight, torch.stack([best * step for step in (1.0, *steps)]), bits, moments, half)
    return best


def _best_scale(weight: Tensor, scales: Tensor, bits: int, moments: Tensor, half: Tensor | None) -> Tensor:
    """Of scales [candidates, N] each row's best by all moments, [N]; the first of equals."""
    errors = torch.stack([_output_error(_error(weight, scale, bits), moments, half) for scale in scales])
    return scales.gather(0, errors.argmin(0, keepdim=True))[0]


def search_asymmetric(weight: Tensor, moments: Tensor, bits: int, half: Tensor | None = None) -> Weights:
    """Quantizer of rows with a scale and a zero point each, by the error of the layer's output; symmetric at 8 bits.

    Arguments as of `search_weights`. Both ends of a row's range are tried together, then moved in small steps.
    """
    if bits > WIDEST:
        return search_weights(weight, moments, bits, half)
    low, high = (end.double().numpy() for end in (weight.amin(1), weight.amax(1)))
    ends, error = (low, high), np.full(len(weight), np.inf)
    best = AsymmetricWeights.of_range(low, high, bits)
    for fractions in (ENDS, *STEPS):
        middle = ends
        for a, b in itertools.product(fractions, fractions):
            tried = AsymmetricWeights.of_range(middle[0] * a, middle[1] * b, bits)
            found = _output_error(_shifted_error(weight, tried), moments, half).double().numpy()
            better = found < error
            error = np.where(better, found, error)
            ends = (np.where(better, middle[0] * a, ends[0]), np.where(better, middle[1] * b, ends[1]))
            scale, zero = (np.where(better, getattr(tried, x), getattr(best, x)) for x in ("scale", "zero"))
            best = AsymmetricWeights(bits, scale, zero)
    return best


def search_twin_log(weight: Tensor, moments: Tensor, bits: int, half: Tensor | None = None) -> Weights:
    """Quantizer of rows in powers of two, by the error of the layer's output; symmetric at 8 bits. Arguments as of
    `search_weights`; one eta for all rows, as published, and each row its own fraction of its reach.
    """
    if bits > TWIN_LOG_WIDEST:
        return search_weights(weight, moments, bits, half)
    low, high = (end.double().numpy() for end in (weight.amin(1), weight.amax(1)))
    best, least = None, np.inf
    by_eta = itertools.groupby(TwinLogWeights.candidates(low, high, bits, COARSE), lambda q: q.levels.tobytes())
    for _, group in by_eta:
        tried = list(group)
        errors = np.stack([_output_error(_level_error(weight, q), moments, half).double().numpy() for q in tried])
        pick = errors.argmin(0)
        total = float(errors.min(0).sum())
        if total < least:
            least, best = (
                total,
                TwinLogWeights(bits, np.stack([q.scale for q in tried])[pick, range(len(pick))], tried[0].levels),
            )
    assert best is not None
    return best


def _level_error(weight: Tensor, quantizer: TwinLogWeights) -> Tensor:
    """What the nearest levels get wrong of weights [N, K]."""
    levels = torch.from_numpy(quantizer.levels.astype(np.float32))
    scale = torch.from_numpy(quantizer.scale)[:, None].float()
    places = torch.bucketize((weight / scale).contiguous(), (levels[1:] + levels[:-1]) / 2)
    return (levels[places] * scale).sub_(weight)


def _shifted_error(weight: Tensor, quantizer: AsymmetricWeights) -> Tensor:
    """What its codes of weights [N, K] get wrong."""
    scale, zero = (torch.from_numpy(x)[:, None].float() for x in (quantizer.scale, quantizer.zero))
    return (weight / scale).add_(zero).round_().clamp_(*quantizer.range).sub_(zero).mul_(scale).sub_(weight)


def _output_error(wrong: Tensor, moments: Tensor, half: Tensor | None) -> Tensor:
    """Squared error [N] of the layer's outputs when its weights are wrong by [N, K]."""
    if half is not None:
        return (wrong @ half).square_().sum(1)
    return (wrong @ moments).mul_(wrong).sum(1)


def _scales(candidates: Sequence[SymmetricHeads]) -> Tensor:
    """Their scales, one below the other."""
    return torch.stack([torch.from_numpy(candidate.scale) for candidate in candidates])


def _error(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """What weight codes at `scale` [N] get wrong, [N, K]."""
    scale = scale[:, None]
    return (weight / scale).round_().clamp_(*weight_range(bits)).mul_(scale).sub_(weight)


def search_heads(values: Tensor, importance: Tensor, peak: Tensor, bits: int) -> SymmetricHeads:
    """Quantizer of one attention operand, by its squared error weighted per channel; the full range at 8 bits.

    Args:
        values: [R, heads, head_dim] sampled values.
        importance: [heads, head_dim] weight of each channel's error.
        peak: [heads] largest magnitude.
        bits: width of the symmetric codes.
    """
    found = SymmetricHeads.candidates(-peak.numpy(), peak.numpy(), bits, SHRINK)
    if bits >= 8:
        return found[0]
    candidates, errors = _scales(found), []
    for scale in candidates:
        s = scale[:, None]
        wrong = (values / s).round_().clamp_(*found[0].range).mul_(s).sub_(values)
        errors.append((wrong.square().mean(0) * importance).sum(1))
    return SymmetricHeads(bits, candidates.gather(0, torch.stack(errors).argmin(0, keepdim=True))[0].numpy())


WEIGHT_SEARCHES: Registry[str, Callable[..., Weights]] = Registry("search for weights", None, UnsupportedError)
WEIGHT_SEARCHES.add("symmetric", search_weights)
WEIGHT_SEARCHES.add("asymmetric", search_asymmetric)
WEIGHT_SEARCHES.add("twin_log", search_twin_log)
