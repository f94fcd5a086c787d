"""Search for the scales of weights and of the attention's operands: symmetric codes, one scale per channel or head.

A symmetric range of 2^b codes has one more code below zero than above. A negative scale turns it round, so both signs are
candidates for weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.quantizers.asymmetric import WIDEST, AsymmetricWeights
from lampq_tvm.quantizers.symmetric import SymmetricHeads, SymmetricWeights, weight_range
from lampq_tvm.quantizers.weights import Weights
from lampq_tvm.registry import Registry

SHRINK = torch.linspace(1.0, 0.3, 36).tolist()
SHRINK_ENDS = torch.linspace(1.0, 0.3, 13).tolist()  # of each end apart
FINALISTS = 6
IN_CACHE = 1 << 16  # weights that are tried at all candidates together, so that they stay in a core's cache


def search_weights(weight: Tensor, moments: Tensor, bits: int, half: Tensor | None = None) -> SymmetricWeights:
    """Quantizer of the weight rows, by the error of the layer's output.

    Args:
        weight: [N, K] float32.
        moments: [K, K] second moments of the layer's input.
        bits: width of the codes.
        half: [K, R] with half half^T = moments, for fewer operations where R is below K.

    Candidates are ranked by the diagonal of the moments; the best few per row are measured with all of them.
    """
    low, high = (end.numpy() for end in (weight.amin(1), weight.amax(1)))
    candidates = _scales(SymmetricWeights.candidates(low, high, bits, SHRINK))
    diagonal = moments.diagonal().contiguous()
    rows = max(1, IN_CACHE // weight.shape[1])
    parts = zip(torch.split(weight, rows), torch.split(candidates, rows, 1), strict=True)
    coarse = torch.cat([torch.stack([_error(part, s, bits).square_() @ diagonal for s in scales]) for part, scales in parts], 1)
    order = torch.argsort(coarse, dim=0, stable=True)[:FINALISTS]
    finalists = candidates.gather(0, order)
    fine = torch.stack([_output_error(_error(weight, s, bits), moments, half) for s in finalists])
    return SymmetricWeights(bits, finalists.gather(0, fine.argmin(0, keepdim=True))[0].double().numpy())


def search_asymmetric(weight: Tensor, moments: Tensor, bits: int, half: Tensor | None = None) -> Weights:
    """Quantizer of rows with a scale and a zero point each; symmetric at 8 bits. Arguments as of `search_weights`."""
    if bits > WIDEST:
        return search_weights(weight, moments, bits, half)
    low, high = (end.double().numpy() for end in (weight.amin(1), weight.amax(1)))
    found = AsymmetricWeights.candidates(low, high, bits, SHRINK_ENDS)
    scales, zeros = (torch.from_numpy(np.stack([getattr(q, side) for q in found])).float() for side in ("scale", "zero"))
    diagonal, ends = moments.diagonal().contiguous(), (found[0].kind.low, found[0].kind.high)
    rows, coarse = max(1, IN_CACHE // weight.shape[1]), list[Tensor]()
    for start in range(0, len(weight), rows):
        part, own = weight[start : start + rows], slice(start, start + rows)
        wrong = (_shifted_error(part, s[own], z[own], ends) for s, z in zip(scales, zeros, strict=True))
        coarse.append(torch.stack([each.square_() @ diagonal for each in wrong]))
    order = torch.argsort(torch.cat(coarse, 1), dim=0, stable=True)[:FINALISTS]
    finalists = list(zip(scales.gather(0, order), zeros.gather(0, order), strict=True))
    fine = torch.stack([_output_error(_shifted_error(weight, s, z, ends), moments, half) for s, z in finalists])
    best = order.gather(0, fine.argmin(0, keepdim=True))[0].numpy()
    picked = np.arange(len(weight))
    every = (np.stack([q.scale for q in found]), np.stack([q.zero for q in found]))
    return AsymmetricWeights(bits, *(side[best, picked] for side in every))


def _shifted_error(weight: Tensor, scale: Tensor, zero: Tensor, ends: tuple[int, int]) -> Tensor:
    """What codes at `scale` and `zero` [N] get wrong, [N, K]."""
    scale, zero = scale[:, None], zero[:, None]
    return (weight / scale).add_(zero).round_().clamp_(*ends).sub_(zero).mul_(scale).sub_(weight)


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
