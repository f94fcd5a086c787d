"""Quantizers that a layer's weights can be given."""

from __future__ import annotations

from typing import TypeAlias

from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.symmetric import SymmetricWeights

Weights: TypeAlias = SymmetricWeights | AsymmetricWeights
