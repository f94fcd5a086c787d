"""The patch embedding: pixels become tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.operators import OPERATORS

if TYPE_CHECKING:
    from torch import Tensor


@OPERATORS.register("PatchEmbed")
@dataclass(frozen=True)
class PatchEmbed(FloatOp):
    """Convolution with stride = kernel over the image, tokens in row-major order, then positions and prefix tokens.

    Tensors: `{name}.weight` [N, C, p, p], `{name}.bias` [N], `{name}.pos` [T - P, N] added to the patch tokens ([1, N] where
    all get the same),
    `{name}.prefix` [P, N] rows put in front (token + its position; P may be 0). Output: stream [B, T, N].
    """

    patch: int
    prefix_tokens: int

    @property
    def layer_type(self) -> str:
        """Always `patch_embed`."""
        return "patch_embed"

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Tokens of the grid and those before them."""
        _, height, width = x[0]
        return self.prefix_tokens + (height // self.patch) * (width // self.patch), tensors[f"{self.name}.weight"].shape[0]

    def product_rows(self, output: Shape) -> int:
        """Patches: prefix tokens are not multiplied."""
        return output[0] - self.prefix_tokens

    def columns(self, x: Tensor) -> Tensor:
        """Patches side by side."""
        import torch.nn.functional as F

        return F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)

    def products(self, y: Tensor) -> Tensor:
        """Tokens behind the prefix ones."""
        return y[:, self.prefix_tokens :]

    def run(self, x: tuple[Tensor, ...], tensors: Mapping[str, Tensor]) -> Tensor:
        """Image [B, C, H, W] to stream [B, T, N]: patches in row-major order plus positions, prefix rows in front."""
        import torch
        import torch.nn.functional as F

        grid = F.conv2d(x[0], tensors[f"{self.name}.weight"], tensors[f"{self.name}.bias"], stride=self.patch)
        tokens = grid.flatten(2).transpose(1, 2) + tensors[f"{self.name}.pos"]
        prefix = tensors[f"{self.name}.prefix"]
        return torch.cat([prefix.expand(len(x[0]), -1, -1), tokens], dim=1)
