"""Which pairs of widths a layer may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lampq_tvm.bitplan import IMAGE_TYPES
from lampq_tvm.network.model import Layer

Pair = tuple[int, int]
Term = tuple[int, int, float]  # places of two layers in the layer table, how much they do to each other (`interactions`)


@dataclass(frozen=True)
class Pairing:
    """The rule that joins weight width w and activation width a.

    Attributes:
        mode: `tied` (a = w, LampQ's 4MP/4MP), `fixed` (a is `a_bits` everywhere) or `separate` (every pair).
        a_bits: of `fixed`.

    >>> Pairing("fixed", 8).choices("fc1", (2, 4))
    [(4, 8), (2, 8)]
    """

    mode: str
    a_bits: int = 8

    def choices(self, layer_type: str, widths: Sequence[int]) -> list[Pair]:
        """Pairs (w, a) of a layer, wider ones first; the patch embedding reads the image, which is always 8 bits."""
        down = sorted(widths, reverse=True)
        if layer_type in IMAGE_TYPES:
            return [(w, 8) for w in down]
        if self.mode == "tied":
            return [(w, w) for w in down]
        if self.mode == "fixed":
            return [(w, self.a_bits) for w in down]
        return [(w, a) for w in down for a in down]

    def of_layers(self, layers: Sequence[Layer], widths: Sequence[int]) -> list[list[Pair]]:
        """Choices of every layer."""
        return [self.choices(layer.type, widths) for layer in layers]


def pair_table(
    pairs: Pairing, layer: Layer, widths: Sequence[int], loss: Callable[[int | None, int | None], float]
) -> npt.NDArray[np.float64]:
    """A layer's losses [w, a], infinite where no plan takes the pair.

    Args:
        loss: of widths w and a; None leaves a side in float. For separate pairs it is asked for w alone and for a alone, and
            both are added; where the layer reads the image, for w alone.
    """
    found = np.full((len(widths), len(widths)), np.inf)
    if layer.reads_image or pairs.mode == "separate":
        found[:] = np.array([loss(w, None) for w in widths])[:, None]
        if not layer.reads_image:
            found += np.array([loss(None, a) for a in widths])[None, :]
    else:
        for w, a in pairs.choices(layer.type, widths):
            found[slot(widths, w), slot(widths, a)] = loss(w, a)
    return found


def slot(widths: Sequence[int], bits: int) -> int:
    """Where a table over candidate widths keeps a width; one that is no candidate (a fixed one) stands at the widest."""
    return list(widths).index(bits) if bits in widths else len(widths) - 1
