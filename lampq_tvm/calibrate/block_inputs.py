"""What a block reads, for many images: on disk, so that blocks can be worked on one after another in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.calibrate.observe import PIECE_BYTES, image_pieces
from lampq_tvm.errors import UsageError
from lampq_tvm.network.between import live_before
from lampq_tvm.network.execute import Replacement, normalize, run_to
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.spread import fitting_jobs, spread

Values = dict[str, Tensor]


@dataclass(frozen=True)
class BlockInputs:
    """The values that are live in front of an operator, of all images.

    Attributes:
        model: the float model.
        operator: in front of which they are; None: the network's output.
        folder: a file a value, float32, image after image; it belongs to these values alone (a folder of `scratch`, say).
        shapes: value -> its shape for one image.
        sizes: images of each piece, in order. A piece is what was computed together, so that going on from it gives the
            bits of a whole run of the same images.
    """

    model: ImportedModel
    operator: str | None
    folder: Path
    shapes: dict[str, tuple[int, ...]]
    sizes: tuple[int, ...]

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(self.sizes)

    def pieces(self) -> Iterator[Values]:
        """The values [B, ...] float32 by name, piece by piece; only one piece is in memory."""
        first = 0
        for size in self.sizes:
            yield {name: self._read(name, shape, first, size) for name, shape in self.shapes.items()}
            first += size

    def _read(self, name: str, shape: tuple[int, ...], first: int, size: int) -> Tensor:
        one = int(np.prod(shape))
        path = _file(self.folder, list(self.shapes).index(name))
        return torch.from_numpy(np.fromfile(path, np.float32, size * one, offset=4 * first * one).reshape(size, *shape))

    def advance(
        self,
        operator: str | None,
        folder: Path,
        *,
        tensors: Mapping[str, Tensor] | None = None,
        replace: Mapping[str, Replacement] | None = None,
        jobs: int | None = None,
    ) -> BlockInputs:
        """The network run on from here to a later operator, or to its output for None.

        Args:
            folder: of the new values; is made.
            tensors, replace: as in `network.execute.run_float`: a block with quantized layers, for instance.
            jobs: pieces at once; all usable cores where None. The result does not depend on it.
        """
        run = partial(run_to, self.model, wanted=live_before(self.model, operator), tensors=tensors, replace=replace)
        return _stored(self.model, operator, folder, self.pieces(), run, jobs)


def block_inputs(
    model: ImportedModel,
    batches: Iterable[tuple[npt.NDArray[np.uint8], Any]],
    operator: str | None,
    folder: Path,
    *,
    jobs: int | None = None,
) -> BlockInputs:
    """What an operator and those behind it read, of all images.

    Args:
        model: the float model.
        batches: (images uint8 [B, C, H, W] at the model's size, labels); labels are unused.
        operator: the first of a block (`network.between.block_starts`); None: the network's output.
        folder: where they are kept; is made.
        jobs: pieces at once; all usable cores where None. The result does not depend on it.

    Raises:
        UsageError: there is no image.
    """
    images = ({"image": normalize(piece.images, model.input)} for piece in image_pieces(model, batches))
    run = partial(run_to, model, wanted=live_before(model, operator))
    return _stored(model, operator, folder, images, run, jobs)


def _stored(
    model: ImportedModel,
    operator: str | None,
    folder: Path,
    pieces: Iterable[Values],
    run: Callable[[Values], Values],
    jobs: int | None,
) -> BlockInputs:
    """Run pieces and write what comes out, in their order."""
    folder.mkdir(parents=True)
    shapes: dict[str, tuple[int, ...]] = {}
    sizes: list[int] = []

    def values(piece: Values) -> Values:
        with torch.no_grad():
            return run(piece)

    for found in spread(values, pieces, fitting_jobs(jobs, PIECE_BYTES)):
        shapes = shapes or {name: tuple(value.shape[1:]) for name, value in found.items()}
        sizes.append(len(next(iter(found.values()))))
        for i, value in enumerate(found.values()):
            with _file(folder, i).open("ab") as file:
                file.write(value.contiguous().numpy().data)
    if not sizes:
        raise UsageError("there is no image to run the network on", hint="give a data set with images")
    return BlockInputs(model, operator, folder, shapes, tuple(sizes))


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number}.f32"
