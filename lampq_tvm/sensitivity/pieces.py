"""The images that a sensitivity is measured on, in pieces whose activations fit in memory, several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lampq_tvm.errors import UsageError
from lampq_tvm.network.execute import normalize
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.spread import fitting_jobs, spread
from lampq_tvm.store import digest

Batches = Callable[[], Iterable[tuple[npt.NDArray[np.uint8], Any]]]
R = TypeVar("R")
PIECE_BYTES = 256 << 20  # of activations held at once
COPIES = 4  # of them while a piece is computed: values, gradients, and what a layer's products need


@dataclass(frozen=True)
class Piece:
    """Some images.

    Attributes:
        index: which piece it is.
        pixels: uint8 [B, C, H, W].
        labels: int64 [B], or None where a batch came without.
        key: digest of the pixels and labels, part of every unit's name.
    """

    index: int
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    key: str

    def images(self, model: ImportedModel) -> Tensor:
        """float32 [B, C, H, W], normalized."""
        return normalize(self.pixels, model.input)


def piece_size(model: ImportedModel) -> int:
    """Images per piece: inputs and outputs of all layers stay below `PIECE_BYTES`."""
    return max(1, min(256, PIECE_BYTES // max(1, model.activation_bytes)))


def spread_pieces(model: ImportedModel, batches: Batches, jobs: int | None, function: Callable[[Piece], R]) -> Iterator[R]:
    """`function` of every piece, in their order; the result does not depend on how many are computed at once.

    Raises:
        UsageError: there is no image.
    """
    wide = COPIES * min(PIECE_BYTES, 256 * model.activation_bytes)
    return spread(function, pieces(model, batches), fitting_jobs(jobs, wide), lambda piece: f"piece {piece.index}")


def pieces(model: ImportedModel, batches: Batches) -> Iterator[Piece]:
    """Go through all images once.

    Raises:
        UsageError: there is none.
    """
    size, index = piece_size(model), 0
    for pixels, labels in batches():
        known = None if labels is None else np.asarray(labels, np.int64)
        for start in range(0, len(pixels), size):
            part = np.ascontiguousarray(pixels[start : start + size])
            own = None if known is None else known[start : start + size]
            yield Piece(index, part, own, digest(index, part, [] if own is None else own)[:24])
            index += 1
    if index == 0:
        raise UsageError("there is no image to measure sensitivity on", where="--data")
