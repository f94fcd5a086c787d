"""The patch embedding: pixels become the residual stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lampq_tvm.kinds import Kind, of_width
from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS
from lampq_tvm.quantize.weighted import Weighted


@OPERATORS.register("QPatchEmbed")
@dataclass(frozen=True)
class QPatchEmbed(Weighted, QOp):
    """Pixels to stream: r[t, n] = pos[t, n] + fma(acc, S[n], B[n]) for patch tokens, prefix rows before them.

    Input: pixel codes (pixel - 128) [B, C, H, W] int8. Output: stream [B, T, N] float32, T = P + patches.
    Tensors: `.w` [N, C*p*p] int8 (k in the order c, row, column), `.zero` [N] int8 or `.levels` where codes have such,
    `.S` `.B` [N] f32, `.pos` [patches, N] f32
    ([1, N] where all patches get the same), `.prefix` [P, N] f32.
    """

    of = ("PatchEmbed",)

    patch: int
    w: Kind
    offset: tuple[int, ...] = ()
    tabled: tuple[int, ...] = ()

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """Tokens of the grid and those before them."""
        _, height, width = x[0]
        prefix, channels = tensors[f"{self.name}.prefix"].shape[0], tensors[f"{self.name}.w"].shape[0]
        return prefix + (height // self.patch) * (width // self.patch), channels

    def at_widths(self, w_bits: int, a_bits: int) -> QPatchEmbed:
        """Pixels keep their 8 bits."""
        return replace(self, w=of_width(w_bits))
