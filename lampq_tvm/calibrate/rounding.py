"""What a rounding of weights is, and where they are found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UsageError
from lampq_tvm.quantizers.weights import Weights
from lampq_tvm.recipes.schema import RoundingOptions
from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

I8 = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Rounding:
    """A way to make codes of a layer's weights.

    Attributes:
        codes: of (weight [N, K] float32, width -> quantizer, second moments [K, K] of the layer's input, options): codes [N, K]
            by width, of those widths that it does not leave to rounding to nearest.
        options: which of `recipes.schema.RoundingOptions` it needs; it takes no others.
    """

    codes: Callable[[Tensor, Mapping[int, Weights], Tensor, RoundingOptions], dict[int, I8]]
    options: tuple[str, ...] = ()


ROUNDINGS: Registry[str, Rounding] = Registry("rounding", "lampq_tvm.calibrate.roundings")


def find_rounding(options: RoundingOptions, where: str | None = None) -> Rounding:
    """The rounding that a recipe names.

    Args:
        where: the recipe's file, for the error.

    Raises:
        UsageError: there is none, or its options are not those that it needs.
    """
    found = ROUNDINGS.find(options.method, where=where)
    given = {name for name, value in options.model_dump(exclude={"method"}).items() if value is not None}
    for name in sorted(given ^ set(found.options)):
        what = f"the rounding {options.method} {'has no' if name in given else 'needs'} {name}"
        raise UsageError(what, where=where, hint="leave it out" if name in given else "the recipe default shows one")
    return found
