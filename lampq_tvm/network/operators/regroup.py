"""Tokens in another order: windows, and merged patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@OPERATORS.register("Regroup")
@dataclass(frozen=True)
class Regroup(FloatOp):
    """Tokens put in another order, cut into windows, or several of them joined to one (patch merging).

    Tensor: `{name}.index` int32 [T', parts] or [windows, T', parts]: which of the input's `rows` tokens of an image (those of
    its windows one after another) stands there, -1 for a token of zeros. Output: [B, (windows,) T', parts * C].
    """

    on_codes: ClassVar[bool] = True
    layer_behind: ClassVar[str | None] = "reduction"
    rows: int

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """The index says it."""
        *places, parts = tensors[f"{self.name}.index"].shape
        return (*places, parts * x[0][-1])

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """Tokens [B, .., C], `rows` per image, to [B, (windows,) T', parts * C]."""
        index = tensors[f"{self.name}.index"].long()
        taken = x[0].reshape(len(x[0]), self.rows, x[0].shape[-1])[:, index.clamp(min=0)]
        if bool((index < 0).any()):
            taken = taken * (index >= 0).unsqueeze(-1)
        return taken.flatten(-2)
