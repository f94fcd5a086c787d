"""A linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@OPERATORS.register("Linear")
@dataclass(frozen=True)
class Linear(FloatOp):
    """y = x W^T + b. Tensors: `{name}.weight` [N, K], `{name}.bias` [N] (zeros where the model has none)."""

    on_codes: ClassVar[bool] = True
    gives_logits: ClassVar[bool] = True
    type: str

    @property
    def layer_type(self) -> str:
        """What stands before and behind it: `qkv`, `proj`, `fc1`, `fc2`, `head`, `reduction`."""
        return self.type

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Other channels."""
        return (*x[0][:-1], tensors[f"{self.name}.weight"].shape[0])

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """[B, .., K] to [B, .., N]."""
        import torch.nn.functional as F

        return F.linear(x[0], tensors[f"{self.name}.weight"], tensors[f"{self.name}.bias"])
