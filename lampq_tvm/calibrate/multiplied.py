"""Products of two computed values: ranges of their operands, and whether 8 bits are enough for them.

Rounding an operand to steps of s adds errors whose mean square is s^2 / 12, each multiplied with the other operand. So the
squared error of a product P = A B of matrices [M, K] and [K, N] is (s_a^2 M |B|^2 + s_b^2 N |A|^2) / 12, |.| being the root of
the sum of squares. What of it belongs to an image, and not to the steps, is seen while images stream by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.calibrate.margins import margin
from lampq_tvm.calibrate.novelty import ENOUGH
from lampq_tvm.network.model import ImportedModel, Multiplies
from lampq_tvm.network.operators.float_part import FloatPart
from lampq_tvm.network.seen import Seen
from lampq_tvm.quantizers.uniform import Uniform

BITS = 8
MOST = 0.05  # relative error of an image's product, above which its operands stay in float
NEVER_NEGATIVE = {"softmax", "_softmax", "relu", "relu6", "sigmoid", "abs", "exp", "square"}
MOVED = {
    "reshape",
    "view",
    "permute",
    "transpose",
    "movedim",
    "dropout",
    "contiguous",
    "clone",
    "expand",
    "flatten",
    "unsqueeze",
}
SMALLEST = 1e-30


def operand_statistics(op: Multiplies, inputs: tuple[Tensor, ...], output: Tensor) -> dict[str, npt.NDArray[Any]]:
    """Ranges [1] of both operands, and [2] how much a step of each makes of the worst image's product, squared."""
    found: dict[str, npt.NDArray[Any]] = {}
    for name, x in zip(op.operands, inputs, strict=True):
        low, high = x.aminmax()
        found[f"low/{name}"], found[f"high/{name}"] = low.reshape(1).numpy(), high.reshape(1).numpy()
        found[f"tokens/{name}"] = np.array([x[0].numel() // x.shape[-1]], np.int64)
    a, b, whole = (x.flatten(1).double().square().sum(1) for x in (*inputs, output))
    rows, columns = output.shape[-2:]
    each = torch.stack([rows * b, columns * a]) / (12 * whole.clamp_min(SMALLEST))
    found[f"errors/{op.name}"] = each.amax(1).numpy()
    return found


def operand_quantizer(low: float, high: float, *, unsigned: bool) -> Uniform:
    """8-bit codes of a range around zero, all of them for what is above it where the operand is `unsigned`."""
    if unsigned:
        return Uniform.of_range(0.0, high, BITS)
    return Uniform(BITS, max(-low, high) / ((1 << (BITS - 1)) - 1), 0)


def operand_quantizers(model: ImportedModel, seen: Seen) -> dict[str, Uniform]:
    """By the operand's name; those of products that lose too much, and of operands that are all zero, are left out."""
    found: dict[str, Uniform] = {}
    for op in (op for op in model.ops if isinstance(op, Multiplies)):
        (first, second), images = op.operands, len(seen.distinct["images"])
        ends = [_ends(seen, name, images) for name in op.operands]
        if any(max(-low, high) <= 0 for low, high in ends):
            continue
        left = operand_quantizer(*ends[0], unsigned=never_negative(model, op.inputs[0]) and seen.low[first][0] >= 0)
        right = operand_quantizer(*ends[1], unsigned=False)
        steps = np.array([left.scale, right.scale]) ** 2
        if float(steps @ seen.errors[op.name]) <= MOST**2:
            found |= {first: left, second: right}
    return found


def never_negative(model: ImportedModel, value: str) -> bool:
    """Whether the model's own operators keep a value from falling below zero: probabilities, rectified values."""
    op = model.op(value)
    if not isinstance(op, FloatPart):
        return False
    names = [node.operator for node in op.nodes if node.operator not in MOVED]
    return bool(names) and names[-1] in NEVER_NEGATIVE


def _ends(seen: Seen, name: str, images: int) -> tuple[float, float]:
    """Smallest and largest value, with a margin where images are few."""
    low, high = (ends[name].astype(np.float64) for ends in (seen.low, seen.high))
    if images < ENOUGH:
        rows = max(1, seen.tokens[name])
        low, high = margin(low, high, images * rows, ENOUGH * rows, np.maximum(high - low, SMALLEST))
    return float(low[0]), float(high[0])
