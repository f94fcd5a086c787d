"""One allocation problem: candidates, losses and cost rows put together from sensitivity, latency and budgets."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lampq_tvm.allocate.budget import Budget
from lampq_tvm.allocate.costs import Limit, check_latency, layer_ms, limits, payload_base, plan_bytes, plan_ms
from lampq_tvm.allocate.held import held_choices
from lampq_tvm.allocate.ilp import Row, solve
from lampq_tvm.allocate.interacting import refined, total_loss
from lampq_tvm.allocate.reasons import infeasible, reason
from lampq_tvm.bitplan import BitPlan, LayerPlan, float_pair
from lampq_tvm.errors import CorruptError, UsageError
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.recipes.held import Held
from lampq_tvm.sensitivity.pairs import Pair, Pairing, Term, slot
from lampq_tvm.sensitivity.table import Sensitivity


@dataclass(frozen=True)
class Problem:
    """Everything the integer program needs.

    Attributes:
        choices: per layer its pairs (w, a), preferred ones first.
        loss: per layer [choices] float64.
        limits: one or two cost rows per budget.
        base_bytes: payload bytes besides the weights' codes.
        time_counts: whether the table's times may decide: they are measured, or estimates were allowed.
    """

    model: ImportedModel
    sensitivity: Sensitivity
    budgets: tuple[Budget, ...]
    latency: LatencyTable | None
    pairing: Pairing
    choices: list[list[Pair]]
    loss: list[np.ndarray]
    limits: list[Limit]
    base_bytes: int
    attention_bits: int | dict[str, int]
    softmax: str | dict[str, str]
    time_counts: bool

    def try_solve(self, extra: Sequence[Row] = ()) -> list[int] | None:
        """Index of each layer's choice under the budgets and the `extra` rows, or None where there is none."""
        rows = [*(limit.row for limit in self.limits), *extra]
        choice = solve(self.loss, rows)
        return refined(choice, self.choices, self.loss, rows, self.terms) if choice and self.terms else choice

    @property
    def terms(self) -> list[Term]:
        """What pairs of layers do to each other, where it was measured."""
        return [(i, j, r) for i, j, r in self.sensitivity.details.get("interactions", ())]

    def solve(self) -> list[int]:
        """Index of each layer's choice.

        Raises:
            InfeasibleError: no choice meets the budgets; the hint names the nearest feasible figure of each.
        """
        choice = self.try_solve()
        if choice is None:
            raise infeasible([self._finite(limit) for limit in self.limits])
        return choice

    def _finite(self, limit: Limit) -> Limit:
        """The limit with infinite costs for the choices that are never taken: those whose loss was not measured."""
        costs = [np.where(np.isfinite(x), cost, np.inf) for x, cost in zip(self.loss, limit.row.cost, strict=True)]
        return replace(limit, row=Row(costs, limit.row.limit))

    def plan(self, choice: Sequence[int]) -> BitPlan:
        """The plan of a choice, with the reason of every width and the solver's figures."""
        picked = [pairs[p] for pairs, p in zip(self.choices, choice, strict=True)]
        rows = tuple(
            LayerPlan(
                name=layer.name,
                type=layer.type,
                w_bits=picked[i][0],
                a_bits=picked[i][1],
                params=layer.params,
                reason=reason(layer, self.choices[i], self.loss[i], choice[i], self.latency),
            )
            for i, layer in enumerate(self.model.layers)
        )
        plan = BitPlan(
            model=self.model.source,
            attention_bits=self.attention_bits,
            softmax=self.softmax,
            layers=rows,
            budgets=tuple(budget.text for budget in self.budgets),
        )
        loss = total_loss(choice, self.loss, self.terms)
        return with_figures(plan, self.base_bytes, self.latency, self.sensitivity.metric, self.pairing, loss)


def with_figures(
    plan: BitPlan, base_bytes: int, latency: LatencyTable | None, metric: str, pairing: Pairing, loss: float | None
) -> BitPlan:
    """The plan with its notes: metric, predicted loss, averages, payload, and its time where there is a table."""
    notes: dict[str, Any] = dict(plan.notes)
    notes |= {"metric": metric, "pairs": pairing.mode, "avg_w_bits": plan.avg_w_bits, "avg_a_bits": plan.avg_a_bits}
    notes |= {"payload_bytes": plan_bytes(plan, base_bytes)}
    if loss is not None:
        notes["predicted_loss"] = loss
    if latency is not None:
        notes |= {"ms": plan_ms(plan, latency), "ms_kind": latency.kind, "device": latency.device, "target": latency.target}
    return plan.model_copy(update={"notes": notes})


def choose_pairing(
    sees_activations: bool, budgets: Sequence[Budget], tied: bool | None = None, a_bits: int | None = None
) -> Pairing:
    """How widths pair up where the user does not say (`tied=None`).

    A fixed `a_bits` wins. `4/8bit` means separate pairs under a metric that sees activations, else a fixed at 8. Budgets
    of bytes alone leave activations at 8, since narrower ones save nothing. Else w and a are tied, as in LampQ's 4MP/4MP,
    but a metric that sees activations is free under budgets of time alone.

    Raises:
        UsageError: separate pairs were asked of a metric that does not see activations, or `a_bits` is out of range.
    """
    if a_bits is not None:
        if not 2 <= a_bits <= 8:
            raise UsageError(f"activations of {a_bits} bits are not supported", where="a_bits", hint="choose 2 to 8")
        return Pairing("fixed", a_bits)
    if tied:
        return Pairing("tied")
    if tied is False and not sees_activations:
        what = "this metric does not see what an activation's width costs"
        raise UsageError(what, where="--metric lampq", hint="tie w and a, fix the activation width, or use fisher_output or kl")
    if tied is False:
        return Pairing("separate")
    asked = [b.a_value for b in budgets if b.a_value is not None]
    if asked:
        return Pairing("separate") if sees_activations else Pairing("fixed", max(2, min(8, math.floor(min(asked)))))
    kinds = {b.kind for b in budgets}
    if kinds == {"bytes"}:
        return Pairing("fixed", 8)
    return Pairing("separate" if sees_activations and kinds and "bits" not in kinds else "tied")


def monotone(loss: np.ndarray) -> np.ndarray:
    """Losses in which a narrower width never counts as better: at (w, a) the largest of all w' >= w, a' >= a.

    A measured loss may dip by chance where the code gets narrower; a bit must not be sold for that. Infinite (not
    measured) entries stay infinite and do not spread.

    Args:
        loss: [layers, w, a] float64, widths ascending.
    """
    finite = np.isfinite(loss)
    run = np.where(finite, loss, -np.inf)
    for axis in (1, 2):
        run = np.flip(np.maximum.accumulate(np.flip(run, axis), axis=axis), axis)
    return np.where(finite, run, np.inf)


def with_half(
    model: ImportedModel, choices: list[list[Pair]], loss: list[np.ndarray], latency: LatencyTable
) -> tuple[list[list[Pair]], list[np.ndarray]]:
    """Choices and losses with float16 first, for layers that the table has its time of; what is slower is never taken.

    Float16 loses nothing: its loss is 0, and never above that of codes.
    """
    found_choices, found_loss = [], []
    for layer, pairs, losses in zip(model.layers, choices, loss, strict=True):
        pair = float_pair(layer.type)
        if pair not in pairs and latency.holds(layer.name, *pair):
            own = latency.ms(layer.name, *pair)
            losses = np.where(layer_ms(latency, layer, pairs) <= own, losses, np.inf)
            pairs, losses = [pair, *pairs], np.concatenate([[min(0.0, float(losses.min()))], losses])
        found_choices.append(pairs)
        found_loss.append(losses)
    return found_choices, found_loss


def make_problem(
    model: ImportedModel,
    s: Sensitivity,
    budgets: Sequence[Budget],
    *,
    latency: LatencyTable | None = None,
    tied: bool | None = None,
    a_bits: int | None = None,
    attention_bits: int | dict[str, int] = 8,
    softmax: str | dict[str, str] = "uniform",
    allow_estimates: bool = False,
    base_bytes: int | None = None,
    floats: Collection[str] = (),
    half: bool = False,
    held: Sequence[Held] = (),
) -> Problem:
    """Check the inputs against each other and put the problem together (arguments and errors as in `solve.allocate`)."""
    check_latency(budgets, latency, allow_estimates)
    if s.layers != tuple(layer.name for layer in model.layers):
        raise CorruptError("the sensitivity belongs to another model", where="sensitivity", hint="measure it again")
    pairing = choose_pairing(s.sees_activations, budgets, tied, a_bits)
    choices = pairing.of_layers(model.layers, s.widths)
    held_choices(model.layers, choices, held, s.widths)
    table = monotone(s.loss)
    loss = []
    for i, (layer, pairs) in enumerate(zip(model.layers, choices, strict=True)):
        loss.append(np.array([table[i, s.widths.index(w), slot(s.widths, a)] for w, a in pairs]))
        if not np.isfinite(loss[i]).any():
            what = f"no loss was measured for layer {layer.name!r} at {pairing.mode} widths"
            raise UsageError(what, where="sensitivity", hint="measure it with the same pairs as the plan, or with all of them")
        if layer.name in floats:
            choices[i], loss[i] = [float_pair(layer.type)], np.zeros(1)
    timed = any(budget.needs_latency for budget in budgets)
    if half and latency is not None and timed:
        choices, loss = with_half(model, choices, loss, latency)
    base = payload_base(model, floats) if base_bytes is None else base_bytes
    asked = tuple(dict.fromkeys(budgets))
    rows = limits(model, choices, asked, latency, base, pairing)
    counts = latency is not None and (allow_estimates or latency.kind == "measured")
    return Problem(
        model, s, asked, latency, pairing, choices, loss, rows, base, attention_bits, softmax, counts
    )  # fmt: skip
