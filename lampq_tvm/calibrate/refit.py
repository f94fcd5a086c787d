"""Weights and biases fitted once more under a plan, layer after layer, to inputs that come from the quantized layers before.

GPTQ's rounding (Frantar et al., ICLR 2023) with the inputs' second moments behind the quantized prefix; towards the float
network's output, the weights themselves are first corrected for what that prefix got wrong. With x the quantized inputs and f
the float network's inputs of a layer, both centred, and H = E[x x^T], C = E[f x^T], L = damping mean(diag H) I:

    W' = W (C + L) (H + L)^-1        the least-squares correction; W' = W where the target is the layer itself
    W_q = rounded W', columns compensated under H, at ranges searched for W' under H; of few bits, then one turn of descent
    b' = b + W mean(f) - W_q mean(x)

W' - W may be held to a rank: compensation by two thin factors (AIQViT's are trained), merged into the weights before rounding.

No gradient is taken. Images lie on disk between blocks, so memory does not grow with their number.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.bitplan import BitPlan, LayerPlan
from lampq_tvm.calibrate.block_inputs import BlockInputs, Values, block_inputs
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.descent import descended
from lampq_tvm.calibrate.fake import fake_quantize_layer, quantized_layer
from lampq_tvm.calibrate.observe import PIECE_BYTES
from lampq_tvm.calibrate.roundings.compensated import compensated_codes
from lampq_tvm.calibrate.search_weights import WEIGHT_SEARCHES
from lampq_tvm.network.between import block_starts
from lampq_tvm.network.execute import Replacement, run_to
from lampq_tvm.network.op import FloatOp
from lampq_tvm.progress import track
from lampq_tvm.quantizers.twin_log import TwinLogWeights
from lampq_tvm.recipes.schema import RefitOptions
from lampq_tvm.spread import fitting_jobs, one_thread, spread
from lampq_tvm.store import Units

TINY = 1e-12
Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class Moments:
    """First and second moments over rows of a layer's inputs: x behind the quantized prefix, f of the float network.

    Pieces are centred by themselves and merged after Chan et al. (1979): a difference of large sums would leave nothing of a
    channel whose mean is far above its spread.

    Attributes:
        count: rows.
        x, f: means [K]; xx, fx: sums of products around them [K, K], float64.
    """

    count: int
    x: Tensor
    f: Tensor
    xx: Tensor
    fx: Tensor

    @classmethod
    def of(cls, x: Tensor, f: Tensor) -> Moments:
        """Those of rows [R, K]; products in float32, of few enough rows that their sums hold."""
        means = x.mean(0, dtype=torch.float64), f.mean(0, dtype=torch.float64)
        x, f = (rows - mean.float() for rows, mean in zip((x, f), means, strict=True))
        return cls(len(x), *means, (x.T @ x).double(), (f.T @ x).double())

    def __add__(self, other: Moments) -> Moments:
        count, x, f = self.count + other.count, other.x - self.x, other.f - self.f
        share = other.count / count
        xx = self.xx + other.xx + self.count * share * x[:, None] * x
        fx = self.fx + other.fx + self.count * share * f[:, None] * x
        return Moments(count, self.x + share * x, self.f + share * f, xx, fx)

    @property
    def centred(self) -> tuple[Tensor, Tensor]:
        """(H, C): second moments of x, and of f with x, around the means, [K, K]."""
        return self.xx / self.count, self.fx / self.count


@dataclass
class _Refit:
    """A network half refitted.

    Attributes:
        now: the calibration, refitted as far as it goes.
        exact, seen: what the present block reads in the float network, and behind the quantized layers before it.
        done: quantized layers of the present block.
    """

    now: Calibration
    exact: BlockInputs
    seen: BlockInputs
    options: RefitOptions
    units: Units
    jobs: int | None
    done: dict[str, Replacement] = field(default_factory=dict)

    def layer(self, row: LayerPlan) -> None:
        """Fit a layer and take its place."""
        if not (row.reads_image or row.is_float or row.w_bits > self.options.widest_bits):
            found = self.units.get(row.name, lambda: self._fitted(row))
            self.now = _with_layer(self.now, row, found)
        self.done[row.name] = quantized_layer(self.now, row.name, row.w_bits, row.a_bits)

    def advance(self, start: str, folder: Path) -> None:
        """Go on to the next block."""
        before = (self.exact.folder, self.seen.folder)
        self.exact = self.exact.advance(start, folder / "float", jobs=self.jobs)
        self.seen = self.seen.advance(start, folder / "seen", replace=self.done, jobs=self.jobs)
        self.done = {}
        for old in before:
            shutil.rmtree(old)

    @torch.no_grad()
    def _fitted(self, row: LayerPlan) -> Arrays:
        """Quantizer, codes and bias of a layer."""
        model = self.now.model
        weight = torch.from_numpy(model.tensors[f"{row.name}.weight"]).double()
        moments = self._moments(row)
        h, c = moments.centred
        damping = max(self.options.damping * float(h.diagonal().mean()), TINY) * torch.eye(len(h), dtype=torch.float64)
        target = weight
        if self.options.toward == "float":
            target = torch.linalg.solve(h + damping, (weight @ (c + damping)).T).T
            if self.options.rank is not None:
                target = weight + low_rank(target - weight, h + damping, self.options.rank)
        name = self.now.weights[row.name][row.w_bits].name
        found = WEIGHT_SEARCHES.find(name)(target.float().contiguous(), h.float(), row.w_bits)
        codes = found.encode(target.float().numpy())
        if self.options.compensated:
            codes = compensated_codes(target.float(), {row.w_bits: found}, h, self.options.damping)[row.w_bits]
        if row.w_bits <= self.options.descended_bits and not isinstance(found, TwinLogWeights):
            found, codes = descended(target, found, codes, h + damping)
        x, f = moments.x, moments.f
        bias = torch.from_numpy(model.tensors[f"{row.name}.bias"]).double()
        bias = bias + weight @ f - torch.from_numpy(found.values(codes)) @ x
        return {**found.arrays(), "codes": codes, "bias": bias.numpy().astype(np.float32)}

    def _moments(self, row: LayerPlan) -> Moments:
        """Of the layer's quantized inputs behind the prefix, and of the float network's inputs of it, over all images."""
        model, op = self.now.model, self.now.model.op(row.name)
        assert isinstance(op, FloatOp)
        act = fake_quantize_layer(self.now, row.name, row.w_bits, row.a_bits)[1]

        @torch.no_grad()
        def of_piece(piece: tuple[Values, Values]) -> Moments:
            exact, seen = piece
            f = run_to(model, exact, op.inputs[:1])[op.inputs[0]]
            x = run_to(model, seen, op.inputs[:1], replace=self.done)[op.inputs[0]]
            return Moments.of(act(op.columns(x).flatten(0, -2)), op.columns(f).flatten(0, -2))

        pieces = zip(self.exact.pieces(), self.seen.pieces(), strict=True)
        found = spread(of_piece, pieces, fitting_jobs(self.jobs, PIECE_BYTES), lambda piece: row.name)
        return functools.reduce(operator.add, found)


def low_rank(change: Tensor, moments: Tensor, rank: int) -> Tensor:
    """Of rank `rank`, what is nearest to a change of weights [N, K] in a layer's outputs, its inputs of moments [K, K]."""
    values, vectors = torch.linalg.eigh(moments)
    root = values.clamp_min(TINY).sqrt()
    left, size, right = torch.linalg.svd(change @ (vectors * root) @ vectors.T, full_matrices=False)
    found: Tensor = (left[:, :rank] * size[:rank]) @ right[:rank] @ (vectors / root) @ vectors.T
    return found


@one_thread()
def refit(
    calibration: Calibration,
    plan: BitPlan,
    batches: Iterable[tuple[npt.NDArray[np.uint8], Any]],
    options: RefitOptions,
    *,
    units: Units,
    folder: Path,
    jobs: int | None = None,
) -> Calibration:
    """The calibration with other weights and biases at the plan's widths; layers wider than asked for, and those that read the
    image, stay as they are.

    Args:
        batches: (images uint8 [B, C, H, W] at the model's size, labels); labels are unused.
        units: finished layers; belongs to this calibration, plan and data.
        folder: for the images on their way.
        jobs: pieces of images at once; all usable cores where None. The result does not depend on it.
    """
    model = calibration.model
    names, starts = [op.name for op in model.ops], block_starts(model)
    exact = block_inputs(model, batches, starts[0], folder / "0" / "float", jobs=jobs)
    seen = dataclasses.replace(exact, folder=Path(shutil.copytree(exact.folder, folder / "0" / "seen")))
    work = _Refit(calibration, exact, seen, options, units, jobs)
    rows = {row.name: row for row in plan.layers}

    def layers() -> Iterator[None]:
        for number, (first, after) in enumerate(zip(starts, [*starts[1:], None], strict=True), 1):
            stop = len(names) if after is None else names.index(after)
            for name in names[names.index(first) : stop]:
                if name in rows:
                    work.layer(rows[name])
                    yield
            if after is not None:
                work.advance(after, folder / str(number))

    for _ in track(layers(), "weights", len(rows)):
        pass
    return work.now


def _with_layer(calibration: Calibration, row: LayerPlan, found: Arrays) -> Calibration:
    """The calibration with a layer's weights and bias at the plan's width; its model stays the float one."""
    name, bits = row.name, row.w_bits
    quantizer = type(calibration.weights[name][bits]).from_arrays(
        {k: v for k, v in found.items() if k not in ("codes", "bias")}
    )

    def changed(group: dict[str, dict[int, Any]], value: Any) -> dict[str, dict[int, Any]]:
        return {**group, name: {**group.get(name, {}), bits: value}}

    return dataclasses.replace(
        calibration,
        weights=changed(calibration.weights, quantizer),
        codes=changed(calibration.codes, found["codes"]),
        biases=changed(calibration.biases, found["bias"]),
    )
