"""What images showed of a float model: ranges and sample rows of what its layers read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.uint64]


@dataclass
class Seen:
    """Statistics of every layer's input.

    Attributes:
        low, high: layer -> smallest and largest input per channel [K]; Attention op -> the same of q, k and v
            [3 * heads * head_dim] (of k and v where the queries are constant); Activation or Gate op -> the same of its
            input; operand of a MatMul op -> [1].
        rows: layer -> sampled input rows [R, K] (normalized pixels for the patch embedding); ranks [R] order them.
        distinct: `images`, `patches` -> hashes of different ones, as many as matter (`calibrate.novelty`).
        tokens: whatever has a range -> its rows per image.
        shares: Attention op -> [256] float64: how much an error of a probability exp(-6.4 i / 255) of the row's largest counts,
            summed over rows (1 / R^2, R the row's sum); empty where no quantizer of probabilities is fitted.
        errors: MatMul op -> [2] float64: of the worst image, the squared relative error for each squared step of an operand.
    """

    low: dict[str, F32] = field(default_factory=dict)
    high: dict[str, F32] = field(default_factory=dict)
    rows: dict[str, F32] = field(default_factory=dict)
    ranks: dict[str, Ranks] = field(default_factory=dict)
    distinct: dict[str, Ranks] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    errors: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    shares: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
