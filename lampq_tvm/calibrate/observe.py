"""One pass of images through the float model: ranges and a fixed number of sample rows of every layer's input.

Memory holds a few pieces and the samples, however many images there are.
The sample is the same for any batch size: rows are ranked by a hash of their image and token number, lowest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.calibrate.multiplied import operand_statistics
from lampq_tvm.calibrate.novelty import ENOUGH, image_hashes, merge
from lampq_tvm.errors import UsageError
from lampq_tvm.network.execute import model_tensors, normalize, run_float
from lampq_tvm.network.model import Attends, Function, ImportedModel, Multiplies, Op, PatchEmbed
from lampq_tvm.network.op import FloatOp
from lampq_tvm.network.seen import F32, Ranks, Seen
from lampq_tvm.quantizers.probabilities import NATS, STEPS
from lampq_tvm.spread import fitting_jobs, spread
from lampq_tvm.store import Units

SAMPLE_ROWS = 1024
PIECE_BYTES = 512 << 20  # of all layers' inputs and outputs together; few of them live at once
PIECE_IMAGES = 32  # at most
SIDE = 16  # of the patches that are told apart where the model has none
RANKED_IMAGES = 4096  # whose rows are ranked at once
EVERY_RANK = np.uint64(2**64 - 1)
Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class Observed(Seen):
    """Statistics that grow batch by batch; of sample rows the SAMPLE_ROWS of lowest rank are kept."""

    def add(self, batch: Arrays) -> None:
        """Merge the statistics of one batch."""
        for key, array in sorted(batch.items()):
            group, name = key.split("/", 1)
            if group == "low":
                self.low[name] = np.minimum(self.low.get(name, array), array)
            elif group == "high":
                self.high[name] = np.maximum(self.high.get(name, array), array)
            elif group == "rows":
                self._keep(name, array, batch[f"ranks/{name}"])
            elif group == "distinct":
                most = ENOUGH if name == "images" else ENOUGH * int(batch["tokens/patches"][0])
                self.distinct[name] = merge(self.distinct.get(name), array, most)
            elif group == "tokens":
                self.tokens[name] = int(array[0])
            elif group == "errors":
                self.errors[name] = np.maximum(self.errors.get(name, array), array)
            elif group == "shares":
                self.shares[name] = self.shares.get(name, 0.0) + array

    def _keep(self, name: str, rows: F32, ranks: Ranks) -> None:
        """Of the old and new rows keep the SAMPLE_ROWS of lowest rank."""
        if name in self.rows:
            rows, ranks = np.concatenate([self.rows[name], rows]), np.concatenate([self.ranks[name], ranks])
        order = np.argsort(ranks, kind="stable")[:SAMPLE_ROWS]
        self.rows[name], self.ranks[name] = rows[order], ranks[order]


@dataclass(frozen=True)
class ImagePiece:
    """Images [B, C, H, W] uint8, the first of which has number `first` of all."""

    first: int
    images: npt.NDArray[np.uint8]


def observe(
    model: ImportedModel,
    batches: Iterable[tuple[npt.NDArray[np.uint8], Any]],
    units: Units,
    seed: int = 0,
    *,
    count: int | None = None,
    jobs: int | None = None,
    shares: bool = False,
    after: str = "",
) -> Observed:
    """Statistics of all images; every piece of a batch is a unit of work, so a kill loses those in flight.

    Args:
        model: the float model.
        batches: (images uint8 [B, C, H, W], labels), labels unused.
        units: where finished pieces are kept.
        seed: of the choice of sample rows.
        count: number of all images, where it is known: then pieces keep no row that others push out of the sample.
        jobs: pieces at once; all usable cores where None.
        shares: whether probabilities are looked at too.
        after: names of the rewrites that made the model.

    Raises:
        UsageError: there is no image.
    """
    seen, empty = Observed(), True

    def one(piece: ImagePiece) -> Arrays:
        limit = partial(_rank_limit, piece.first if count is None else count, seed, SAMPLE_ROWS)
        kind = "-".join(["observe", *(["shares"] if shares else []), *([after] if after else [])])
        name = f"{kind}/{piece.first}-{piece.first + len(piece.images)}"
        return units.get(name, lambda: _statistics(model, piece, seed, limit, shares))

    jobs = fitting_jobs(jobs, PIECE_BYTES)
    for found in spread(one, image_pieces(model, batches), jobs, lambda piece: f"image {piece.first} and those after it"):
        seen.add(found)
        empty = False
    if empty:
        raise UsageError("the calibration set has no image", hint="give a data set with images")
    return seen


def image_pieces(model: ImportedModel, batches: Iterable[tuple[npt.NDArray[np.uint8], Any]]) -> Iterator[ImagePiece]:
    """The batches, cut so that enough pieces are there to share, and none takes much memory."""
    size = max(1, min(PIECE_IMAGES, PIECE_BYTES // max(1, model.activation_bytes)))
    first = 0
    for images, _ in batches:
        for start in range(0, len(images), size):
            yield ImagePiece(first + start, images[start : start + size])
        first += len(images)


@lru_cache(maxsize=16)  # pieces of a set whose size is known ask the same
def _rank_limit(images: int, seed: int, size: int, tokens: int) -> np.uint64:
    """Rank that a row must not exceed to be among the `size` of lowest rank of the first `images` images."""
    lowest = np.zeros(0, np.uint64)
    for first in range(0, images, RANKED_IMAGES):
        ranks = row_ranks(first, min(RANKED_IMAGES, images - first), tokens, seed)
        lowest = np.sort(np.concatenate([lowest, ranks]))[:size]
    return lowest[-1] if len(lowest) == size else EVERY_RANK


@torch.no_grad()
def _statistics(model: ImportedModel, piece: ImagePiece, seed: int, limit: Callable[[int], np.uint64], shares: bool) -> Arrays:
    """Statistics of one piece, and its rows that may enter the sample: those below `limit` of their number of tokens."""
    found: Arrays = {}
    limits: dict[int, np.uint64] = {}

    def see(op: Op, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0]
        if isinstance(op, FloatOp) and op.layer_type is not None:
            rows = op.columns(x)
            found[f"low/{op.name}"] = rows.amin((0, 1)).numpy()
            found[f"high/{op.name}"] = rows.amax((0, 1)).numpy()
            tokens = rows.shape[1]
            if tokens not in limits:
                limits[tokens] = limit(tokens)
            ranks = row_ranks(piece.first, rows.shape[0], tokens, seed)
            kept = np.flatnonzero(ranks <= limits[tokens])
            kept = kept[np.argsort(ranks[kept], kind="stable")][:SAMPLE_ROWS]
            found[f"rows/{op.name}"] = rows.flatten(0, 1)[torch.from_numpy(kept)].numpy()
            found[f"ranks/{op.name}"] = ranks[kept]
        elif isinstance(op, Function | Attends):
            x = op.argument(x) if isinstance(op, Function) else x
            low, high = x.flatten(0, -2).aminmax(dim=0)
            found[f"low/{op.name}"], found[f"high/{op.name}"] = low.numpy(), high.numpy()
            if shares and isinstance(op, Attends):
                found[f"shares/{op.name}"] = share_weights(op.scores(x, model_tensors(model)))
        elif isinstance(op, Multiplies):
            found.update(operand_statistics(op, inputs, output))
        if f"low/{op.name}" in found:
            found[f"tokens/{op.name}"] = np.array([rows_per_image(op, x)], np.int64)

    side = next((op.patch for op in model.ops if isinstance(op, PatchEmbed)), min(SIDE, *piece.images.shape[2:]))
    found["distinct/images"], found["distinct/patches"] = image_hashes(piece.images, side)
    found["tokens/patches"] = np.array([(piece.images.shape[2] // side) * (piece.images.shape[3] // side)], np.int64)
    run_float(model, normalize(piece.images, model.input), observe=see)
    return found


def share_weights(scores: Tensor) -> npt.NDArray[np.float64]:
    """How much an error of each probability that the softmax's table holds counts (`Seen.shares`); scores [.., keys]."""
    below = scores.amax(-1, keepdim=True) - scores
    index = (below * (STEPS / NATS)).round_().clamp_(max=STEPS)
    weight = torch.exp(-below).sum(-1, keepdim=True).pow_(-2).expand_as(index)
    return torch.bincount(index.flatten().int(), weight.double().flatten(), STEPS + 1).numpy()


def rows_per_image(op: Op, x: Tensor) -> int:
    """Rows of an operator's input that come from one image."""
    if isinstance(op, PatchEmbed):
        return (x.shape[2] // op.patch) * (x.shape[3] // op.patch)
    return x[0].numel() // x.shape[-1]


def row_ranks(first: int, images: int, tokens: int, seed: int) -> Ranks:
    """Pseudo-random rank of every (image, token), a function of their numbers alone: [images * tokens] uint64.

    The mixing steps are those of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    image, token = np.arange(first, first + images, dtype=np.uint64), np.arange(tokens, dtype=np.uint64)
    z: Ranks = ((image[:, None] << np.uint64(20)) + token).ravel() + np.uint64((seed % 65536) << 48)
    for shift, factor in ((33, 0x9E3779B97F4A7C15), (30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))
