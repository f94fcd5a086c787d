"""LampQ's error-based iterative bit update: swap a bit between two layers while accuracy improves.

Each step gives one bit to the layer of the largest gain and takes one from the layer of the smallest degradation
(LampQ, Sec. "I3", in its verbal definition: gain is the error that one more bit removes, degradation the error that
one bit fewer adds; the paper's formulas list the two swapped). The error of a layer is

    L = || Y' - Y ||_F^2 / || Y ||_F^2,   Y the layer's product on sample rows, Y' the same from quantized values.

A swap between layers of different size moves the average, so only swaps that keep every budget are considered: of
those, the largest gain minus degradation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lampq_tvm.allocate.costs import Limit, plan_choice
from lampq_tvm.allocate.problem import Problem
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fake import fake_quantize_layer
from lampq_tvm.recipes.schema import UpdateOptions
from lampq_tvm.sensitivity.pairs import Pair

# Relative error by width, Lemma 3's table: the same width for Gaussian weights and activations.
PAPER_ERROR = {1: 1.0, 2: 1.209e-2, 3: 1.835e-3, 4: 3.903e-4, 5: 9.093e-5, 6: 2.199e-5, 7: 5.339e-6, 8: 1.324e-6}


@dataclass
class ReconstructionError:
    """L of layers at pairs of widths, from the calibration's sample rows, each measured once."""

    calibration: Calibration
    known: dict[tuple[str, Pair], float] = field(default_factory=dict)

    def __call__(self, layer: str, pair: Pair) -> float:
        """L of a layer at (w, a)."""
        if (layer, pair) not in self.known:
            self.known[layer, pair] = self._measure(layer, pair)
        return self.known[layer, pair]

    @torch.no_grad()
    def _measure(self, layer: str, pair: Pair) -> float:
        """Relative squared error of the product on the sample rows."""
        rows = torch.from_numpy(self.calibration.samples[layer])
        exact = self.calibration.model.tensors[f"{layer}.weight"]
        weight, act = fake_quantize_layer(self.calibration, layer, *pair)
        y = rows @ torch.from_numpy(exact.reshape(len(exact), -1)).T
        error = (act(rows) @ torch.from_numpy(weight).T - y).square().sum(dtype=torch.float64)
        return float(error / y.square().sum(dtype=torch.float64).clamp_min(1e-30))


def iterative_update(
    calibration: Calibration,
    problem: Problem,
    plan: BitPlan,
    evaluate: Callable[[BitPlan], float],
    options: UpdateOptions = UpdateOptions(),  # noqa: B008  (frozen)
) -> BitPlan:
    """Swap bits between layers while accuracy improves; every budget of the problem holds throughout.

    Args:
        calibration: sample rows and quantizers.
        problem: what the plan was solved from.
        plan: where to start; it must meet the problem's budgets.
        evaluate: accuracy of a plan on D, a share of 1.
        options: how neighbours' errors are known, and when to stop, as a recipe gives them.

    Returns:
        The best plan, with `update` in its notes: accuracies and the swaps that were kept.

    Raises:
        CorruptError: a layer of the plan has widths that the problem does not offer.
    """
    error = ReconstructionError(calibration)
    best, start = plan_choice(plan, problem.choices), evaluate(plan)
    accuracy, swaps = start, list[str]()
    improved = True
    while improved and len(swaps) < options.max_swaps:
        improved = False
        for _, (trial, text) in zip(range(options.patience), _swaps(problem, best, error, options.ratios)):  # noqa: B905
            found = evaluate(problem.plan(trial))
            if found > accuracy:
                best, accuracy, improved = trial, found, True
                swaps.append(text)
                break
    result = problem.plan(best) if swaps else plan
    figures = {"accuracy_before": start, "accuracy_after": accuracy, "swaps": swaps, "ratios": options.ratios}
    return result.model_copy(update={"notes": {**plan.notes, **result.notes, "update": figures}})


@dataclass(frozen=True)
class _Move:
    """One bit more or fewer for a layer: its new choice, and its gain (of one more) or degradation (of one fewer)."""

    layer: int
    side: str
    choice: int
    change: float


def _swaps(problem: Problem, choice: Sequence[int], error: ReconstructionError, ratios: str) -> Iterator[tuple[list[int], str]]:
    """Swaps within the budgets, best first (largest gain minus degradation, then lower layers), each with its text."""
    ups = [m for i in range(len(choice)) for m in _moves(problem, choice, i, +1, error, ratios)]
    downs = [m for i in range(len(choice)) for m in _moves(problem, choice, i, -1, error, ratios)]
    pairs = [(u, d) for u in ups for d in downs if u.layer != d.layer and u.side == d.side]
    totals = [limit.row.total(choice) for limit in problem.limits]
    for up, down in sorted(pairs, key=lambda p: (p[1].change - p[0].change, p[0].layer, p[1].layer)):
        if not _may_fit(problem.limits, totals, choice, up, down):
            continue
        trial = list(choice)
        trial[up.layer], trial[down.layer] = up.choice, down.choice
        if all(limit.row.holds(trial) for limit in problem.limits):
            names = [problem.model.layers[m.layer].name for m in (up, down)]
            yield trial, f"+1 {names[0]}, -1 {names[1]} ({up.side})"


def _may_fit(limits: Sequence[Limit], totals: Sequence[float], choice: Sequence[int], up: _Move, down: _Move) -> bool:
    """A quick look at the budgets that never turns down a swap which keeps them."""
    for limit, total in zip(limits, totals, strict=True):
        cost = limit.row.cost
        change = sum(float(cost[m.layer][m.choice] - cost[m.layer][choice[m.layer]]) for m in (up, down))
        if total + change > limit.row.limit + 1e-6 * abs(limit.row.limit):
            return False
    return True


def _moves(
    problem: Problem, choice: Sequence[int], i: int, step: int, error: ReconstructionError, ratios: str
) -> Iterator[_Move]:
    """A layer's moves by one bit: both sides where they are tied, else each side that may move."""
    layer, pairs = problem.model.layers[i], problem.choices[i]
    w, a = pairs[choice[i]]
    if problem.pairing.mode == "tied":
        targets = {"w=a": (w + step, a if layer.reads_image else a + step)}
    else:
        targets = {"w": (w + step, a)}
        if problem.pairing.mode == "separate" and not layer.reads_image:
            targets["a"] = (w, a + step)
    for side, pair in targets.items():
        if pair in pairs and np.isfinite(problem.loss[i][pairs.index(pair)]):
            now = error(layer.name, (w, a))
            if ratios == "measured":
                then = error(layer.name, pair)
            else:
                b = a if side == "a" else w
                then = now * PAPER_ERROR[b + step] / PAPER_ERROR[b]
            yield _Move(i, side, pairs.index(pair), step * (now - then))
