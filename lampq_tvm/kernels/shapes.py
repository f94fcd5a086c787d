"""What a product kernel is built for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the instruction sets round up as well
    from lampq_tvm.kernels.isa.dot import Dot

EPILOGUES = ("codes", "table", "residual", "float", "stream")


@dataclass(frozen=True)
class ProductShape:
    """What a product kernel is built for.

    Attributes:
        rows: M, rows of activations [M, K].
        n, k: output channels and inputs.
        epilogue: one of `EPILOGUES`.
        period: for `stream`, rows of the position table that repeat over the batch; else 0.
    """

    rows: int
    n: int
    k: int
    epilogue: str
    period: int = 0

    @property
    def key(self) -> str:
        """Short text that names the shape (`codes_m197_n576_k192`)."""
        return f"{self.epilogue}_m{self.rows}_n{self.n}_k{self.k}" + (f"_p{self.period}" if self.period else "")

    @property
    def out_dtype(self) -> str:
        """Type of the output."""
        return "int8" if self.epilogue in ("codes", "table") else "float32"


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple that is at least value."""
    return -(-value // multiple) * multiple


def padded(shape: ProductShape, dot: Dot) -> tuple[int, int]:
    """(Np, Kp): channels padded to the lanes, inputs padded to the multiply-add's group."""
    return round_up(shape.n, dot.lanes), round_up(shape.k, dot.group)
