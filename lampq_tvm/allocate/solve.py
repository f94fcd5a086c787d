"""From sensitivity, latency and budgets to a bit plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lampq_tvm.allocate.budget import Budget
from lampq_tvm.allocate.problem import make_problem
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.recipes.held import Held
from lampq_tvm.sensitivity.table import Sensitivity


def allocate(
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
) -> BitPlan:
    """The plan of least predicted loss within every budget.

    Args:
        model: gives the layers and their sizes.
        s: their losses.
        budgets: all must hold.
        latency: times; its figures go into the plan's notes even where no budget limits time.
        tied: whether w = a; None decides by metric and budgets (`problem.choose_pairing`).
        a_bits: a fixed activation width.
        attention_bits, softmax: passed on to the plan.
        allow_estimates: whether estimated times may decide.
        base_bytes: payload bytes besides the weights' codes; computed from the model where None.
        floats: layers that stay float16.
        half: whether any layer may stay float16 that the table holds a time for.
        held: layers whose widths are fixed or bounded; the last that matches a layer decides.

    Raises:
        InfeasibleError: no plan meets the budgets; the hint names the nearest feasible one.
        DeviceError: a time budget without a table, or with an estimated one that was not allowed.
        UsageError: the metric cannot decide about the pairs asked for, or a pattern matches no layer.
        CorruptError: sensitivity or table belong to another model.
    """
    problem = make_problem(
        model, s, budgets, latency=latency, tied=tied, a_bits=a_bits, attention_bits=attention_bits, softmax=softmax,
        allow_estimates=allow_estimates, base_bytes=base_bytes, floats=floats, half=half, held=held,
    )  # fmt: skip
    return problem.plan(problem.solve())
