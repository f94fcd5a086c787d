"""What every operator's lowering knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import Kernel
from lampq_tvm.network.model import InputSpec
from lampq_tvm.network.op import Shape
from lampq_tvm.network.shapes import infer_shapes
from lampq_tvm.quantize.model import QuantizedModel

TilesFor = Callable[[Kernel], Tiles | None]


@dataclass(frozen=True)
class Context:
    """What every operator's lowering knows.

    Attributes:
        isa: instruction set level.
        batch: images per call.
        input: the image.
        tensors: the network's constants.
        tiles: tuned sizes of a kernel, or None for the default ones.
        shapes: of every value without the batch.
    """

    isa: str
    batch: int
    input: InputSpec
    tensors: Mapping[str, np.ndarray]
    tiles: TilesFor
    shapes: Mapping[str, Shape]

    @staticmethod
    def of(qm: QuantizedModel, isa: str, batch: int, tiles: TilesFor) -> Context:
        """For a network."""
        return Context(isa, batch, qm.input, qm.tensors, tiles, infer_shapes(qm.ops, qm.input, qm.tensors))

    def choose(self, kernel: Kernel) -> tuple[str, Callable[[], PrimFunc]]:
        """A kernel's name and builder with the sizes that it is to have."""
        tiles = self.tiles(kernel)
        return kernel.key + (f"_t{tiles.key}" if tiles else ""), lambda: kernel.build(tiles)

    def rows(self, value: str) -> int:
        """Rows of a value as a matrix [rows, channels], the batch included."""
        return self.batch * int(np.prod(self.shapes[value][:-1]))

    def channels(self, value: str) -> int:
        """Channels of a value."""
        return self.shapes[value][-1]
