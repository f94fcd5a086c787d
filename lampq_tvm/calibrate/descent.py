"""Weight codes after compensation, looked at once more: each takes the value that is best beside all others as they now are.

Coordinate descent on the error of a layer's outputs (Behdin et al., "QuantEase", 2023). Compensation rounds a column without
knowing how later ones will be rounded, which costs most where a step is wide. One turn over the columns is made, after each
row's scale was fitted to its codes: more turns fit the images that moments were taken of, and others less.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.symmetric import SymmetricWeights

I8 = npt.NDArray[np.int8]
Even = SymmetricWeights | AsymmetricWeights
BLOCK = 32  # columns whose gradients are brought up to date one by one; those behind them, once a block


def descended(weight: Tensor, quantizer: Even, codes: I8, moments: Tensor) -> tuple[Even, I8]:
    """(the quantizer with scales fitted to the codes, codes [N, K] after one turn over the columns), error never larger.

    Args:
        weight: [N, K].
        quantizer: whose zero points stay.
        codes: [N, K].
        moments: [K, K] second moments of the layer's input, damped.
    """
    order = torch.argsort(moments.diagonal(), descending=True, stable=True)
    h = moments.double()[order][:, order]
    wanted = h @ weight.double()[:, order].T.contiguous()  # a column's values side by side, as everywhere below
    now = torch.from_numpy(codes.astype(np.float64)).T[order].contiguous()
    zero = torch.from_numpy(quantizer.zero).double()
    scale = _fitted_scale(torch.from_numpy(quantizer.scale).double(), now - zero, h, wanted)
    left = wanted - h @ ((now - zero) * scale)  # half the gradient's opposite
    for start in range(0, len(now), BLOCK):
        stop = min(start + BLOCK, len(now))
        near, moved = left[start:stop].clone(), torch.empty_like(left[start:stop])
        for i, k in enumerate(range(start, stop)):
            best = (now[k] + near[i] / (h[k, k] * scale)).round().clamp(*quantizer.range)
            moved[i], now[k] = (best - now[k]) * scale, best
            near -= h[start:stop, k, None] * moved[i]
        left -= h[:, start:stop] @ moved
    found = torch.empty_like(now)
    found[order] = now
    return dataclasses.replace(quantizer, scale=scale.numpy()), found.T.to(torch.int8).numpy().copy()


def _fitted_scale(scale: Tensor, values: Tensor, moments: Tensor, wanted: Tensor) -> Tensor:
    """Of rows, [N], the least squares one for codes less zero points [K, N]; the old one where that is none or turns round."""
    own = (values * (moments @ values)).sum(0)
    found = (values * wanted).sum(0) / own
    return torch.where((own > 0) & (found * scale > 0), found, scale)
