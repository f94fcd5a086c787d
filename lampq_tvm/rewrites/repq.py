"""Reparameterization: channels of a layer's input are brought to one common range without changing the function.

After RepQ-ViT (Li et al., ICCV 2023), in a form that no bit width enters: the common range is the mean of all channels'.
`mosf` takes their median instead, which minimizes the sum of distances to all of them, so that a few wide channels do not widen
it (DopQ-ViT, 2024). `powers` brings them to the mean range by powers of two alone and without a shift, as FQ-ViT's power-of-two
factors do (IJCAI 2022): the weights that read a channel take its factor, which is exact.
"""

from __future__ import annotations

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.seen import Seen
from lampq_tvm.rewrites.channels import F64, Input, change_channels
from lampq_tvm.rewrites.rewrite import REWRITES

SMALLEST = 1e-2  # of the common range: channels that hardly move are not blown up


@REWRITES.register("repq")
def reparameterize(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen]:
    """(the same function with equalized layer inputs, its ranges and samples). Neither argument is changed."""
    return change_channels(model, seen, lambda x: channel_map(x, float((x.high - x.low).mean())))


@REWRITES.register("mosf")
def reparameterize_by_median(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen]:
    """The same with the median range."""
    return change_channels(model, seen, lambda x: channel_map(x, float(np.median(x.high - x.low))))


@REWRITES.register("powers")
def reparameterize_by_powers(model: ImportedModel, seen: Seen) -> tuple[ImportedModel, Seen]:
    """(the same function with channels scaled by powers of two, its ranges and samples). Neither argument is changed."""
    return change_channels(model, seen, power_map, values=False)


def power_map(x: Input) -> tuple[F64, F64]:
    """(zeros [K], 2^k [K]), k the nearest whole number."""
    reach = np.maximum(np.abs(x.low), np.abs(x.high))
    factor = np.maximum(reach / max(float(reach.mean()), 1e-12), SMALLEST)
    return np.zeros(len(factor)), np.exp2(np.rint(np.log2(factor)))


def channel_map(x: Input, common: float) -> tuple[F64, F64]:
    """(centre [K], r [K]) that bring every channel to the common range around zero."""
    common = max(common, 1e-12)
    return (x.low + x.high) / 2, np.maximum((x.high - x.low) / common, SMALLEST)
