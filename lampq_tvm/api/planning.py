"""`plan`: how many bits each layer gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lampq_tvm.allocate.plan import BitPlan
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.running import float_logits
from lampq_tvm.data import BATCH
from lampq_tvm.progress import track
from lampq_tvm.store import Units, digest

if TYPE_CHECKING:
    from lampq_tvm.allocate.problem import Problem

Logits = Callable[[Pipeline, BitPlan], Callable[[np.ndarray], np.ndarray]]  # uint8 [B, C, H, W] to float32 [B, classes]


def plan(model: str | Path, *, output: str | Path | None = None, **options: Any) -> BitPlan:
    """Work out a bit plan.

    Args:
        model: a timm name, a `.pt2` or an `.onnx`.
        output: the JSON file to write, if any.
        **options: fields of `Options`.

    Raises:
        LampqError: what is wrong; nothing was written then.
    """
    return plan_pipeline(Pipeline(Options(model=str(model), **options)), None if output is None else Path(output))


def plan_pipeline(pipeline: Pipeline, output: Path | None) -> BitPlan:
    """Check the request, work out the plan, write it."""
    pipeline.check(output)
    found = pipeline.plan
    if output is not None:
        found.save(output)
    return found


def problem(pipeline: Pipeline) -> Problem:
    """The integer program of a request; latency comes first, since it may show that a budget cannot be met."""
    from lampq_tvm.allocate.problem import make_problem

    o, table = pipeline.options, pipeline.table
    return make_problem(
        pipeline.model,
        pipeline.sensitivity,
        o.parsed_budgets,
        latency=table,
        tied=o.tied,
        a_bits=o.a_bits,
        attention_bits=o.attention_bits,
        softmax=o.softmax,
        allow_estimates=o.allow_estimates,
        floats=pipeline.floats,
        half=pipeline.target.kind == "cuda",
    )


def within_drop(pipeline: Pipeline) -> BitPlan:
    """The cheapest plan within the allowed loss of accuracy, judged by the integer network on the sensitivity images."""
    from lampq_tvm.allocate.drop import allocate_within_drop

    drop, evaluate = pipeline.options.drop, evaluator(pipeline, exact_logits)
    assert drop is not None
    return allocate_within_drop(problem(pipeline), drop, evaluate, evaluate(None))


def evaluator(pipeline: Pipeline, logits: Logits) -> Callable[[BitPlan | None], float]:
    """Accuracy of a plan (of the float model for None) on the sensitivity images, by `logits`; each is worked out once."""
    data = digest(pipeline.calibration_key, pipeline.sens_data.fingerprint, logits.__name__)
    kept = Units(pipeline.cache.folder("plan", data) / "evaluations")

    def evaluate(candidate: BitPlan | None) -> float:
        widths = None if candidate is None else [[row.w_bits, row.a_bits] for row in candidate.layers]
        name = digest(widths, *(() if candidate is None else (candidate.attention_bits, candidate.softmax)))
        return float(kept.get(name, lambda: {"top1": np.array([accuracy(pipeline, candidate, logits)])})["top1"][0])

    return evaluate


def accuracy(pipeline: Pipeline, candidate: BitPlan | None, logits: Logits) -> float:
    """Share of the sensitivity images that a plan, or for None the float model, gets right."""
    run = partial(float_logits, pipeline.model) if candidate is None else logits(pipeline, candidate)
    right, data = 0, pipeline.sens_data
    for pixels, labels in track(iter(data), "evaluating a plan", -(-len(data) // BATCH)):
        right += int((run(pixels).argmax(1) == labels).sum())
    return right / len(data)


def exact_logits(pipeline: Pipeline, candidate: BitPlan) -> Callable[[np.ndarray], np.ndarray]:
    """A plan's integer network, as the board will compute it."""
    from lampq_tvm.quantize.build import quantize
    from lampq_tvm.quantize.reference import run_reference

    quantized = quantize(pipeline.calibration, candidate)
    return lambda pixels: np.asarray(run_reference(quantized, pixels))


def close_logits(pipeline: Pipeline, candidate: BitPlan) -> Callable[[np.ndarray], np.ndarray]:
    """A plan's layers in the float model: many times faster, enough to compare plans."""
    from lampq_tvm.frontend.execute import normalize
    from lampq_tvm.sensitivity.float_run import run_plan

    spec = pipeline.model.input
    return lambda pixels: np.asarray(run_plan(pipeline.calibration, candidate, normalize(pixels, spec)))


def solved(pipeline: Pipeline) -> BitPlan:
    """The plan of least predicted loss within the budgets, refined by LampQ's update where accuracy means something."""
    if pipeline.options.drop is not None:
        return within_drop(pipeline)
    program = problem(pipeline)
    found = program.plan(program.solve())
    judged = pipeline.sensitivity.details.get("labels_used", False) and pipeline.model.weights == "trained"
    if not (pipeline.options.update and judged):
        return found
    from lampq_tvm.allocate.update import iterative_update

    return iterative_update(pipeline.calibration, program, found, evaluator(pipeline, close_logits))
