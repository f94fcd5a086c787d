"""The widths of a request: its integer program, solved, and judged by accuracy where that means something."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lampq_tvm.api.running import float_logits
from lampq_tvm.api.stages import Stages, check_unchanged
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.data import BATCH
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.progress import note, track
from lampq_tvm.spread import fitting_jobs, one_thread, spread
from lampq_tvm.store import Units, digest

if TYPE_CHECKING:
    from lampq_tvm.allocate.problem import Problem

IMAGES_BYTES = 512 << 20  # of all layers' inputs and outputs together; few of them live at once
Logits = Callable[[Stages, BitPlan], Callable[[np.ndarray], np.ndarray]]  # uint8 [B, C, H, W] to float32 [B, classes]


def problem(stages: Stages, table: LatencyTable | None, floats: tuple[str, ...]) -> Problem:
    """The integer program of a request; `floats` stay float16."""
    from lampq_tvm.allocate.costs import decoding_bytes, payload_base, table_bytes
    from lampq_tvm.allocate.problem import make_problem
    from lampq_tvm.calibrate.calibration import WIDTHS
    from lampq_tvm.recipes.schema import HAVE

    o = stages.options
    attention_bits, softmax = attention_choice(stages)
    quantizers = {
        role: {x.name: {b: o.method.quantizer(role, x.name, x.type, b) for b in WIDTHS} for x in stages.model.layers}
        for role in HAVE
        if role != "probabilities"
    }
    return make_problem(
        stages.model,
        stages.sensitivity,
        o.parsed_budgets,
        latency=table,
        tied=stages.tied,
        a_bits=o.a_bits,
        attention_bits=attention_bits,
        softmax=softmax,
        allow_estimates=o.allow_estimates,
        base_bytes=payload_base(stages.model, floats)
        + table_bytes(stages.model, quantizers["activations"])
        + decoding_bytes(stages.model, quantizers["weights"]),
        floats=floats,
        half=stages.target.kind == "cuda",
        held=o.method.held,
    )


def attention_choice(stages: Stages) -> tuple[int | dict[str, int], str | dict[str, str]]:
    """Widths of the attentions' operands, and the quantizers of p: as given, or under `--attention-budget` chosen for each.

    Raises:
        InfeasibleError: no widths keep the budget.
    """
    o = stages.options
    if o.attention_budget is None:
        return o.attention_bits, o.method.probabilities(stages.model, o.attention_bits)
    from lampq_tvm.allocate.attention import allocate_attention

    bits = allocate_attention(stages.model, stages.attention_sensitivity, o.attention_budget)
    return bits, {name: o.method.probabilities_by_attention(stages.model, b)[name] for name, b in bits.items()}


def within_drop(stages: Stages, program: Problem) -> BitPlan:
    """The cheapest plan shown to lose no more accuracy than allowed: chosen on the sensitivity images, judged on others.

    What a candidate shows on the sensitivity images is read as it would count with as many images as judge it.
    """
    from lampq_tvm.allocate.drop import allocate_within_drop
    from lampq_tvm.allocate.paired import upper_bound
    from lampq_tvm.api.judging import compare, judge

    drop, n = stages.options.drop, len(stages.held_back)
    assert drop is not None

    def expected(candidate: BitPlan) -> float:
        seen = compare(stages, stages.sens_data, candidate, "choosing a plan")
        return 100 * upper_bound(seen.losses / seen.n, seen.gains / seen.n, n)

    return allocate_within_drop(program, drop, expected, lambda candidate: judge(stages, candidate))


def kept_within_drop(stages: Stages, plan: BitPlan) -> BitPlan:
    """A given plan, if it is shown to lose no more accuracy than allowed.

    Raises:
        InfeasibleError: it is not.
    """
    from lampq_tvm.allocate.drop import refusal, with_verdict
    from lampq_tvm.api.judging import judge

    drop, found = stages.options.drop, judge(stages, plan)
    assert drop is not None
    if found.bound_points > drop.points:
        raise refusal(found, drop, "the plan")
    return with_verdict(plan, found, drop)


def evaluator(stages: Stages, logits: Logits) -> Callable[[BitPlan | None], float]:
    """Accuracy of a plan (of the float model for None) on the sensitivity images, by `logits`; each is worked out once."""
    data = digest(stages.calibration_key, stages.sens_data.fingerprint, logits.__name__)
    kept = Units(stages.cache.folder("plan", data) / "evaluations", shared="evaluating a plan")

    def evaluate(candidate: BitPlan | None) -> float:
        widths = None if candidate is None else [[row.w_bits, row.a_bits] for row in candidate.layers]
        name = digest(widths, *(() if candidate is None else (candidate.attention_bits, candidate.softmax)))
        return float(kept.get(name, lambda: {"top1": np.array([accuracy(stages, candidate, logits)])})["top1"][0])

    return evaluate


def accuracy(stages: Stages, candidate: BitPlan | None, logits: Logits) -> float:
    """Share of the sensitivity images that a plan, or for None the float model, gets right."""
    run = partial(float_logits, stages.model) if candidate is None else logits(stages, candidate)
    data, size = stages.sens_data, images_at_once(stages.model)

    def right(batch: tuple[np.ndarray, Any]) -> int:
        return int((run(batch[0]).argmax(1) == batch[1]).sum())

    jobs = fitting_jobs(stages.options.jobs, IMAGES_BYTES)
    found = track(spread(right, data.batches(size), jobs), "evaluating a plan", -(-len(data) // size))
    total = sum(found)
    check_unchanged(data)
    return total / len(data)


def images_at_once(model: ImportedModel) -> int:
    """Images that one thread runs together: few of a large model, so that their values are small and there is work for all."""
    return max(1, min(BATCH, IMAGES_BYTES // max(1, model.activation_bytes)))


def close_logits(stages: Stages, candidate: BitPlan) -> Callable[[np.ndarray], np.ndarray]:
    """A plan's layers in the float model: many times faster, enough to compare plans."""
    from lampq_tvm.network.execute import normalize
    from lampq_tvm.sensitivity.float_run import planned_run

    spec, run = stages.model.input, planned_run(stages.calibration, candidate)
    return lambda pixels: np.asarray(run(normalize(pixels, spec)))


def solved(stages: Stages, table: LatencyTable | None, floats: tuple[str, ...]) -> BitPlan:
    """The plan of least predicted loss within the budgets, refined by LampQ's update where accuracy means something."""
    program = problem(stages, table, floats)
    if program.pairing.mode == "fixed" and stages.options.a_bits is None and {b.kind for b in program.budgets} == {"bytes"}:
        note("a budget in bytes alone leaves activations at 8 bits: narrower ones save none (--tie or --a-bits narrows them)")
    if stages.options.drop is not None:
        return within_drop(stages, program)
    found = program.plan(program.solve())
    update = stages.options.method.update
    judged = stages.sensitivity.details.get("labels_used", False) and stages.model.weights == "trained"
    if not (update.enabled and judged):
        return found
    from lampq_tvm.allocate.update import iterative_update

    with one_thread():
        return iterative_update(stages.calibration, program, found, evaluator(stages, close_logits), update)
