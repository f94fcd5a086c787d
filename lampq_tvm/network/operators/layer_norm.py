"""LayerNorm, and RMSNorm, which leaves out the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@OPERATORS.register("LayerNorm")
@dataclass(frozen=True)
class LayerNorm(FloatOp):
    """LayerNorm over channels, or without `centred` RMSNorm: x / sqrt(mean(x^2) + eps).

    Tensors: `{name}.gamma` [C], `{name}.beta` [C].
    """

    eps: float
    centred: bool = True

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of its input."""
        return x[0]

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, .., C] to the same."""
        import torch.nn.functional as F

        gamma, beta = tensors[f"{self.name}.gamma"], tensors[f"{self.name}.beta"]
        if self.centred:
            return F.layer_norm(x[0], x[0].shape[-1:], gamma, beta, self.eps)
        return F.rms_norm(x[0], x[0].shape[-1:], gamma, self.eps) + beta
