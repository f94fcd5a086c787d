"""Rotary attention's q and k turned by their token's angles where a product makes them, so that no float is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import argument, i32, move, put, registers


@dataclass(frozen=True)
class Turning:
    """What the columns of a product are: q, k and v of `heads` of `head_dim`, of which neighbours turn each other.

    Attributes:
        tokens: rows of an image.
    """

    tokens: int
    heads: int
    head_dim: int

    @property
    def suffix(self) -> str:
        """Part of a kernel's name."""
        return f"_r{self.tokens}_{self.heads}x{self.head_dim}"


@dataclass(frozen=True)
class Turned:
    """u * inv, u = fma(x[c], cos[t, c], fl(x[c ^ 1] * sin[t, c])) of q and k, u = x of v, row r being token r % tokens.

    Buffers: cos, sin [tokens, head_dim] f32; inv [3, heads] f32.
    """

    of: Turning
    cos: Any
    sin: Any
    inv: Any

    @classmethod
    def declare(cls, of: Turning) -> Turned:
        """Declare the buffers."""
        cos, sin = (argument(name, (of.tokens, of.head_dim), "float32") for name in ("cos", "sin"))
        return cls(of, cos, sin, argument("inv", (3, of.heads), "float32"))

    def values(self, x: list[Expr], m: Expr, n: Expr) -> list[Expr]:
        """Neighbours of row m from column n on, in units of their codes; they are of one head."""
        size, channels = len(x), self.of.heads * self.of.head_dim
        kept, cos, sin = (registers(size, "float32") for _ in range(3))
        for i, value in enumerate(x):
            put(kept, i, value)
        for angle, found in ((self.cos, cos), (self.sin, sin)):
            move(angle, (m % self.of.tokens, n % self.of.head_dim), found, (i32(0),), size)
        part = tirx.min(n // channels, i32(2))  # columns are filled up
        scale = self.inv[part, n % channels // self.of.head_dim]
        turned = [T.fma(kept[i], cos[i], kept[i ^ 1] * sin[i]) for i in range(size)]
        return [T.Select(part < 2, turned[i], kept[i]) * scale for i in range(size)]
