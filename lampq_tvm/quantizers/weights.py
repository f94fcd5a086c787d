"""Quantizers that a layer's weights can be given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy.typing as npt

from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.symmetric import SymmetricWeights
from lampq_tvm.quantizers.twin_log import TwinLogWeights

Weights: TypeAlias = SymmetricWeights | AsymmetricWeights | TwinLogWeights


def weights_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Weights:
    """The quantizer whose `arrays` these are: its parameters tell its kind."""
    kind = TwinLogWeights if "levels" in arrays else AsymmetricWeights if "zero" in arrays else SymmetricWeights
    return kind.from_arrays(dict(arrays))
