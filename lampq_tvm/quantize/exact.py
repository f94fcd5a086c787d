"""Exact arithmetic in torch for the reference: fused multiply-add, integer products, LayerNorm.

Written apart from the oracle and by another route, so that agreement of the two means something.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lampq_tvm.kinds import Encode, Kind

LANES = 32
LARGEST_HALF = 65504.0
_LOW = (1 << 29) - 1  # float64 mantissa bits that float32 does not have
_TIE = 1 << 28
_SMALLEST_NORMAL = 2.0**-126


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a * b + c of float32 tensors with one rounding.

    Rounding the float64 sum again to float32 goes wrong only where the sum lies on a tie of float32 (or below its normal
    range) and was itself rounded; those few elements are corrected by the error of the sum (Knuth's TwoSum).
    """
    product = a.double() * b.double()
    addend = c.double()
    total = product + addend
    result = total.float()
    doubtful = ((total.view(torch.int64) & _LOW) == _TIE) | (total.abs() < _SMALLEST_NORMAL)
    if doubtful.any():
        at = doubtful.nonzero(as_tuple=True)
        result[at] = _corrected(total[at], product.expand_as(total)[at], addend.expand_as(total)[at])
    return result


def _corrected(total: Tensor, product: Tensor, addend: Tensor) -> Tensor:
    """Float32 of product + addend where `total` is their rounded float64 sum: rounded to odd first."""
    back = total - product
    error = (product - (total - back)) + (addend - back)
    bits = total.view(torch.int64)
    step = torch.where((error > 0) == (total > 0), 1, -1)
    return torch.where((error != 0) & (bits & 1 == 0), bits + step, bits).view(torch.float64).float()


def product(a: Tensor, b: Tensor, largest: int) -> Tensor:
    """a @ b of integer codes, exact: float32 where every partial sum (at most `largest`) fits its mantissa, else float64."""
    narrow = largest <= 1 << 24 and torch.get_float32_matmul_precision() == "highest"
    kind = torch.float32 if narrow else torch.float64
    return a.to(kind) @ b.to(kind)


def saturate(x: Tensor, kind: Kind) -> Tensor:
    """Nearest code of a kind, ties to even: int8, or the nearest float16 value."""
    if kind.is_float:
        return x.clamp(-LARGEST_HALF, LARGEST_HALF).half()
    return x.round().clamp(kind.low, kind.high).to(torch.int8)


def encode(x: Tensor, how: Encode, t: Mapping[str, Tensor]) -> Tensor:
    """What is stored of values in units of codes; `t` holds the table where there is one."""
    codes = saturate(x, how.grid)
    return codes if how.table is None else t["table"][codes.int() + 128]


def half_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of float16 values or codes, summed in float32."""
    return a.float() @ b.float()


def sums(a: Tensor, w: Tensor, a_kind: Kind, w_kind: Kind) -> Tensor:
    """a w^T of codes, or of float16 values, as float32."""
    if w_kind.is_float:
        return half_product(a, w.T)
    return product(a, w.T, a.shape[-1] << (a_kind.bits + w_kind.bits - 2)).float()


def _strided(x: Tensor) -> tuple[Tensor, ...]:
    """x [.., C] cut into pieces [.., 32], the last padded with zeros (adding zero changes no sum)."""
    padded = torch.nn.functional.pad(x, (0, -x.shape[-1] % LANES))
    return padded.view(*x.shape[:-1], -1, LANES).unbind(-2)


def _fold(lanes: Tensor) -> Tensor:
    """[.., 32] -> [.., 1], upper half onto lower half five times."""
    while lanes.shape[-1] > 1:
        low, high = lanes.chunk(2, dim=-1)
        lanes = low + high
    return lanes


def normalize(x: Tensor, eps: float, centred: bool = True) -> Tensor:
    """LayerNorm (RMSNorm where it is not `centred`) without its affine part, over the last axis, in the fixed order of sums."""
    channels = x.shape[-1]
    inverse = torch.tensor(1 / channels, dtype=torch.float64).float()
    if centred:
        first, *rest = _strided(x)
        for piece in rest:
            first = first + piece
        x = fma(_fold(first), -inverse, x)
    variance = fma(squares(x), inverse, torch.tensor(eps, dtype=torch.float64).float())
    return x * reciprocal(variance.double().sqrt().float())


def squares(x: Tensor) -> Tensor:
    """Sum of the squares over the last axis, in the fixed order: [.., 1]."""
    total = torch.zeros(())
    for piece in _strided(x):
        total = fma(piece, piece, total)
    return _fold(total)


def reciprocal(x: Tensor) -> Tensor:
    """fl(1 / x); through float64, where the second rounding is innocuous, so that no vector library's accuracy matters."""
    return (1.0 / x.double()).float()
