"""Search for the quantizer of a layer's input: both ends of its range together, by the error of the layer's output.

All pairs of a lower and an upper end are ranked first by an error that knows each channel's weight norm but not the
correlation of channels; it needs only a histogram. The best of them, and always the full range, are then measured with the
output error on the sample rows, and the winner's ends are moved in small steps. The two ends move apart from each other:
where one is near zero, as after GELU, shrinking both in proportion would only remove its zero point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lampq_tvm.calibrate.fake import fake_quantize
from lampq_tvm.quantizers.protocol import Quantizer
from lampq_tvm.quantizers.uniform import Uniform

BINS = 2048
SHRINK = tuple(0.88**i for i in range(26))  # fractions of an end, 1 .. 0.04
FINALISTS = 6
STEPS = (0.06, 0.03)

Ends = tuple[float, float]


def search_activation(
    rows: Tensor, weight: Tensor, low: float, high: float, kinds: Mapping[int, type[Quantizer]]
) -> dict[int, Quantizer]:
    """Quantizers of a layer's input at every width: the full range at 8 bits, searched below.

    Args:
        rows: [R, K] float32 sampled inputs.
        weight: [N, K] float32.
        low, high: the input's full range.
        kinds: width -> class of its quantizer.
    """
    mixer = output_mixer(weight)
    centres, mass = weighted_histogram(rows, weight.square().sum(0), low, high)
    found: dict[int, Quantizer] = {}
    for bits, kind in kinds.items():
        search = _Search(kind, bits, rows, mixer)
        found[bits] = search.of(low, high)[0] if bits >= 8 else search.best(centres, mass, (low, high))
    return found


def output_mixer(weight: Tensor) -> Tensor:
    """L [K, min(N, K)] with ||d L|| = ||d W^T|| for every row d: W^T itself, or a square factor of W^T W where N > K."""
    if weight.shape[0] <= weight.shape[1]:
        return weight.T.contiguous()
    factor: Tensor = torch.linalg.qr(weight.double(), mode="r").R
    return factor.T.float().contiguous()


def weighted_histogram(rows: Tensor, importance: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """(bin centres [BINS], summed importance of the values in each bin [BINS]); importance [K] is per channel."""
    step = max(high - low, 1e-8) / BINS
    index = ((rows - low) / step).long().clamp(0, BINS - 1).flatten()
    mass = torch.bincount(index, weights=importance.double().expand(rows.shape).flatten(), minlength=BINS)
    return low + (torch.arange(BINS) + 0.5) * step, mass.float()


@dataclass(frozen=True)
class _Search:
    """The search for one width's quantizer; `rows` [R, K] and `mixer` measure candidates."""

    kind: type[Quantizer]
    bits: int
    rows: Tensor
    mixer: Tensor

    def of(self, low: float, high: float) -> list[Quantizer]:
        """Those of a range: what else a kind leaves to choose is tried with each."""
        return list(self.kind.candidates(low, high, self.bits))

    def best(self, centres: Tensor, mass: Tensor, ends: Ends) -> Quantizer:
        """The best of all pairs of ends; `centres` and `mass` are a histogram."""
        fitted = self.kind.fit(centres.double().numpy(), mass.double().numpy(), self.bits)
        if fitted is not None:
            return fitted
        pairs = [(ends[0] * a, ends[1] * b) for a in (SHRINK if self.kind.clips_below else (1.0,)) for b in SHRINK]
        tried = [(pair, i, q) for pair in pairs for i, q in enumerate(self.of(*pair))]
        errors = _histogram_errors(centres, mass, [q for _, _, q in tried])
        order = torch.argsort(errors, stable=True)[:FINALISTS].tolist()
        best = _Tried(ends, 0, self.error(self.of(*ends)[0]))
        for pair, i, _ in (tried[place] for place in order):
            best = self._better(best, pair, i)
        for step in STEPS:
            for a, b in ((1 - step, 1), (1 + step, 1), (1, 1 - step), (1, 1 + step)):
                best = self._better(best, (best.ends[0] * a, best.ends[1] * b), best.variant)
        return self.of(*best.ends)[best.variant]

    def error(self, candidate: Quantizer) -> float:
        """On the sample rows."""
        return output_error(self.rows, self.mixer, candidate)

    def _better(self, best: _Tried, pair: Ends, variant: int) -> _Tried:
        """A candidate where its error is smaller, else what was best."""
        found = self.error(self.of(*pair)[variant])
        return _Tried(pair, variant, found) if found < best.error else best


@dataclass(frozen=True)
class _Tried:
    """A range, which of its candidates, and the error."""

    ends: Ends
    variant: int
    error: float


def output_error(rows: Tensor, mixer: Tensor, candidate: Quantizer) -> float:
    """Squared error of the layer's output when its input rows are quantized, summed."""
    return float(((fake_quantize(rows, candidate) - rows) @ mixer).square().sum(dtype=torch.float64))


def _histogram_errors(centres: Tensor, mass: Tensor, candidates: Sequence[Quantizer]) -> Tensor:
    """Weighted squared error of every candidate: [candidates]."""
    uniform = [q for q in candidates if isinstance(q, Uniform)]
    if len(uniform) < len(candidates):
        values = torch.stack([fake_quantize(centres, q) for q in candidates])
        return values.sub_(centres).square_() @ mass
    scale = torch.tensor([q.scale for q in uniform])[:, None]
    zero = torch.tensor([float(q.zero) for q in uniform])[:, None]
    codes = (centres / scale).add_(zero).round_().clamp_(uniform[0].low, uniform[0].high)
    errors: Tensor = codes.sub_(zero).mul_(scale).sub_(centres).square_() @ mass
    return errors
