"""How the codes of an activation quantizer travel from the operator that makes them to the products that read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kinds import Encode, Kind
from lampq_tvm.quantizers.protocol import Levels, Quantizer
from lampq_tvm.quantizers.uniform import Uniform

I8 = npt.NDArray[np.int8]
PLANE = 256  # what a unit of the high plane counts for
CODES = np.arange(-128, 128)


@dataclass(frozen=True, eq=False)
class Carried:
    """How a quantizer's codes travel.

    Evenly spaced codes, sat(rne(x / scale + zero)), are what products multiply. Any other quantizer's are made on an
    8-bit grid first, and a table then gives what products multiply: its levels. Levels of 16 bits are two planes of int8, which
    are looked up at its codes minus 128.

    Attributes:
        quantizer: the quantizer.
        grid: what producers round to.
        levels: [codes] integers that codes stand for; None where codes stand for themselves.
    """

    quantizer: Quantizer
    grid: Quantizer
    levels: npt.NDArray[np.int64] | None

    @property
    def wide(self) -> bool:
        """Whether levels take 16 bits."""
        return self.levels is not None and bool(np.abs(self.levels).max() > 127)

    @property
    def kind(self) -> Kind:
        """Of what products multiply."""
        return self.quantizer.kind if self.levels is None else Kind.INT8

    @property
    def encode(self) -> Encode:
        """How producers store it."""
        return Encode(self.grid.kind, None if self.levels is None else Kind.INT8)

    @property
    def peak(self) -> int:
        """Largest magnitude of what products multiply."""
        return -self.kind.low if self.levels is None or self.wide else int(np.abs(self.levels).max())

    @property
    def scale(self) -> float:
        """Of a unit of what products multiply."""
        return float(self.quantizer.decoder.scale)

    @property
    def zero(self) -> float:
        """What stands for zero."""
        return float(self.quantizer.decoder.zero)

    def entries(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """What is stored of real values: codes, levels, or codes minus 128 of levels that take two planes."""
        codes = self.quantizer.encode(values)
        if self.levels is None:
            return codes
        return (codes.astype(np.int64) - 128 if self.wide else self.levels[codes]).astype(np.int8)

    @property
    def tensors(self) -> dict[str, I8]:
        """The table of a producer's `Encode`, where there is one."""
        return {} if self.levels is None else {"table": self.entries(self.grid.values(CODES))}

    @property
    def planes(self) -> tuple[I8, ...]:
        """[256] int8 each, the high one first, of levels that take two planes: level = 256 high + low."""
        if self.levels is None or not self.wide:
            return ()
        every = self.levels[np.minimum(np.arange(256), len(self.levels) - 1)]
        high = (every + PLANE // 2) // PLANE
        return high.astype(np.int8), (every - PLANE * high).astype(np.int8)


def carried(quantizer: Quantizer) -> Carried:
    """How a quantizer's codes travel.

    Raises:
        UnsupportedError: they cannot: it has more than one scale, or its levels are too wide.
    """
    decoder = quantizer.decoder
    if not isinstance(decoder, Levels):
        if np.ndim(decoder.scale) or np.ndim(decoder.zero):
            what = f"the quantizer {quantizer.name} has more than one scale for an activation"
            raise UnsupportedError(what, hint="give one scale and one zero point")
        return Carried(quantizer, quantizer, None)
    levels = np.asarray(decoder.table, np.int64)
    if np.abs(levels).max() > (1 << 15) - PLANE or len(levels) > 256:
        what = f"the quantizer {quantizer.name} has levels beyond what two planes of int8 hold"
        raise UnsupportedError(what, hint="give at most 256 levels within +-32512")
    return Carried(quantizer, grid_of(quantizer), levels)


def grid_of(quantizer: Quantizer) -> Uniform:
    """The 8-bit grid on which a quantizer with a table is made: that of its values' range."""
    decoder = quantizer.decoder
    assert isinstance(decoder, Levels)
    values = decoder.values(np.arange(len(decoder.table)))
    return Uniform.of_range(float(values.min()), float(values.max()), 8)
