"""What every operator's lowering knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lampq_tvm.frontend.model import InputSpec
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.tiles import Tiles

TilesFor = Callable[[ProductShape, str, int, int], Tiles | None]


@dataclass
class Context:
    """What every operator's lowering knows.

    Attributes:
        isa: instruction set level.
        batch: images per call.
        input: the image.
        tensors: the network's constants.
        tiles: tuned tiles of a product, or None for the default ones.
        shapes: shape of every value so far, without the batch: (channels,), (tokens, channels) or (windows, tokens, channels).
    """

    isa: str
    batch: int
    input: InputSpec
    tensors: Mapping[str, np.ndarray]
    tiles: TilesFor
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def rows(self, value: str) -> int:
        """Rows of a value as a matrix [rows, channels], the batch included."""
        return self.batch * int(np.prod(self.shapes[value][:-1]))

    def channels(self, value: str) -> int:
        """Channels of a value."""
        return self.shapes[value][-1]
