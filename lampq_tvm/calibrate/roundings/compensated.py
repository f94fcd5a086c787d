"""Weight codes that make up for each other's rounding.

Columns are rounded one after another, and what a column got wrong is taken out of the columns still to come, in the way that
disturbs the layer's output least (Frantar et al., "GPTQ", ICLR 2023, after Hassibi and Stork's optimal brain surgeon). The
scales stay those of the search. Rows do not see each other, so all widths of a layer are done in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lampq_tvm.calibrate.rounding import I8, ROUNDINGS, Rounding
from lampq_tvm.quantizers.twin_log import TwinLogWeights
from lampq_tvm.quantizers.weights import Weights
from lampq_tvm.recipes.schema import RoundingOptions

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32


def rounded(weight: Tensor, quantizers: Mapping[int, Weights], moments: Tensor, options: RoundingOptions) -> dict[int, I8]:
    """Codes of the widths that are no wider than asked for: from 6 bits on plain rounding is as good."""
    assert options.widest_bits is not None and options.damping is not None
    narrow = {bits: found for bits, found in quantizers.items() if bits <= options.widest_bits}
    return compensated_codes(weight, narrow, moments, options.damping)


def compensated_codes(weight: Tensor, quantizers: Mapping[int, Weights], moments: Tensor, damping: float) -> dict[int, I8]:
    """Codes [N, K] of a layer's weights, by width; of levels that are not even, the nearest ones'.

    Args:
        weight: [N, K] float32.
        quantizers: by width; their scales may be of either sign.
        moments: [K, K] second moments of the layer's input.
        damping: added to them, a share of their mean: samples are few and inputs correlated.
    """
    import torch

    uneven = {bits: q.encode(weight.numpy()) for bits, q in quantizers.items() if isinstance(q, TwinLogWeights)}
    even = {bits: q for bits, q in quantizers.items() if bits not in uneven}
    if not even:
        return uneven
    found = list(even.values())
    order = torch.argsort(moments.diagonal(), descending=True, stable=True)
    spread = _spread(moments.double()[order][:, order], damping)
    left = weight.double()[:, order].repeat(len(found), 1)
    scale, zero = (torch.from_numpy(np.concatenate([getattr(q, side) for q in found])).double() for side in ("scale", "zero"))
    low, high = torch.tensor([q.range for q in found], dtype=torch.float64).T.repeat_interleave(len(weight), 1)
    codes = torch.empty(left.shape[1], len(left), dtype=torch.int8)
    places = order.tolist()
    for start in range(0, left.shape[1], BLOCK):
        stop = min(start + BLOCK, left.shape[1])
        block = left[:, start:stop].T.contiguous()  # a column's values side by side
        wrong = torch.empty_like(block)
        for i in range(stop - start):
            k = start + i
            code = torch.minimum(torch.maximum((block[i] / scale + zero).round(), low), high)
            codes[places[k]] = code.to(torch.int8)
            wrong[i] = (block[i] - (code - zero) * scale) / spread[k, k]
            block[i + 1 :] -= spread[k, k + 1 : stop, None] * wrong[i]
        left[:, stop:] -= wrong.T @ spread[start:stop, stop:]
    return uneven | {bits: part.T.numpy().copy() for bits, part in zip(even, codes.chunk(len(found), 1), strict=True)}


def _spread(moments: Tensor, share: float) -> Tensor:
    """Upper Cholesky factor of the damped inverse of the moments: how a column's error passes to later columns."""
    import torch

    damping = max(share * float(moments.diagonal().mean()), 1e-12)
    damped = moments + damping * torch.eye(len(moments), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


ROUNDINGS.add("compensated", Rounding(rounded, options=("widest_bits", "damping")))
