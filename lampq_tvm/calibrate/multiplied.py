"""Products of two computed values: ranges of their operands, and whether 8 bits are enough for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.network.model import ImportedModel, Multiplies
from lampq_tvm.network.seen import Seen
from lampq_tvm.quantizers.uniform import Uniform

BITS = 8
MOST = 0.05  # relative error of a product, above which its operands stay in float


def operand_statistics(op: Multiplies, inputs: tuple[Tensor, ...], output: Tensor) -> dict[str, npt.NDArray[Any]]:
    """Ranges [1] of both operands, and the error [1] of the product on their codes, relative to the product."""
    found: dict[str, npt.NDArray[Any]] = {}
    rounded = []
    for name, x, may_be_unsigned in zip(op.operands, inputs, (True, False), strict=True):
        low, high = x.aminmax()
        found[f"low/{name}"], found[f"high/{name}"] = low.reshape(1).numpy(), high.reshape(1).numpy()
        rounded.append(_rounded(x, operand_quantizer(float(low), float(high), unsigned=may_be_unsigned)))
    error = (op.run(tuple(rounded), {}) - output).norm() / output.norm().clamp_min(1e-30)
    found[f"low/{op.name}.error"] = found[f"high/{op.name}.error"] = error.reshape(1).numpy()
    return found


def operand_quantizer(low: float, high: float, *, unsigned: bool) -> Uniform:
    """8-bit codes of a range around zero; all of them for what is above it where the operand may be `unsigned`."""
    if unsigned and low >= 0:
        return Uniform.of_range(0.0, high, BITS)
    return Uniform(BITS, max(-low, high, 1e-8) / ((1 << (BITS - 1)) - 1), 0)


def operand_quantizers(model: ImportedModel, seen: Seen) -> dict[str, Uniform]:
    """By the operand's name; those of products that lose too much are left out."""
    found: dict[str, Uniform] = {}
    for op in model.ops:
        if isinstance(op, Multiplies) and _end(seen.high, f"{op.name}.error") <= MOST:
            for name, unsigned in zip(op.operands, (True, False), strict=True):
                found[name] = operand_quantizer(_end(seen.low, name), _end(seen.high, name), unsigned=unsigned)
    return found


def _rounded(x: Tensor, by: Uniform) -> Tensor:
    """The values that the codes stand for."""
    return (torch.round(x / by.scale + by.zero).clamp_(by.low, by.high) - by.zero) * by.scale


def _end(ends: Mapping[str, npt.NDArray[np.float32]], name: str) -> float:
    return float(ends[name][0])
