"""Groups of options that say what a plan may cost, and how its widths are chosen."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lampq_tvm.allocate.budget import DEFAULT, Budget, DropBudget, parse_budget, parse_drop
from lampq_tvm.api.option import Group, Option
from lampq_tvm.api.values import LARGE, check_choice, check_range, parse_names
from lampq_tvm.errors import UsageError
from lampq_tvm.recipes import DEFAULT as DEFAULT_RECIPE

if TYPE_CHECKING:
    from lampq_tvm.recipes.schema import Recipe

ALPHAS = ("accuracy", "loss")


@dataclass(frozen=True, kw_only=True)
class BudgetOptions(Group):
    """What a plan may cost.

    Attributes:
        budgets: all to be met (`4bit`, `4/8bit`, `2.5ms`, `0.6x`, `8MiB`); None: 8 bits, or none beside float layers.
    """

    budgets: Annotated[
        tuple[str, ...] | None,
        Option(
            "4bit, 4/8bit, 16bit, 2.5ms, 0.6x, 8MiB; repeatable. [default: 8bit]",
            flags=("--budget",),
            written=list[str] | None,
            read=tuple,
        ),
    ] = None

    @property
    def parsed_budgets(self) -> tuple[Budget, ...]:
        """The budgets, read."""
        return tuple(parse_budget(text) for text in ((DEFAULT,) if self.budgets is None else self.budgets))

    def check(self) -> None:
        """Refuse what is no budget."""
        _ = self.parsed_budgets


@dataclass(frozen=True, kw_only=True)
class DropOptions(Group):
    """How much accuracy may be lost.

    Attributes:
        max_drop: largest loss of accuracy in points; the cheapest plan shown to lose no more, on held-back images, is taken.
        val_data: labelled images to show it on; None: those of `data` that neither calibrate nor choose.
        val_images: how many of them are used at most; None: four times what a plan without a loss would need.
    """

    max_drop: Annotated[float | None, Option("Largest loss of accuracy in points, shown on held-back images.")] = None
    val_data: Annotated[Path | None, Option("Labelled images to judge --max-drop on; else --data's unused ones.")] = None
    val_images: Annotated[int | None, Option("Images that judge --max-drop, at most.")] = None

    @property
    def drop(self) -> DropBudget | None:
        """The largest loss of accuracy, read."""
        return None if self.max_drop is None else parse_drop(f"{self.max_drop:g}")

    def check(self) -> None:
        """Refuse a drop that nothing can show, and images that judge nothing."""
        check_range("--val-images", self.val_images, 1, LARGE)
        if self.max_drop is not None and not 0 < self.max_drop <= 100:
            what = f"no number of images can show a drop of {self.max_drop:g} points"
            raise UsageError(what, where="--max-drop", hint="give more than 0 and up to 100, for example 0.5")
        if self.max_drop is None and (self.val_data is not None or self.val_images is not None):
            option = "--val-data" if self.val_data is not None else "--val-images"
            raise UsageError("nothing is judged without --max-drop", where=option, hint="give that as well, or leave this out")
        _ = self.drop


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Group):
    """Which method.

    Attributes:
        recipe: by name or file.
    """

    recipe: Annotated[
        str | Path,
        Option("The method: a name of `lampq recipes`, or a .toml file.", written=str, read=str, shown=DEFAULT_RECIPE),
    ] = DEFAULT_RECIPE

    @functools.cached_property
    def named_recipe(self) -> Recipe:
        """The recipe as it is written."""
        from lampq_tvm.api.methods import checked_recipe

        return checked_recipe(self.recipe)


@dataclass(frozen=True, kw_only=True)
class MethodOptions(RecipeOptions):
    """How a model is quantized and a plan's widths are chosen.

    What is given of `softmax`, `metric`, `alpha`, `tied`, `a_bits`, `update` and `interactions` wins over the recipe; `method`
    is what that comes to.

    Attributes:
        tied: activations take the weights' width (`--tie`), or each layer any pair (`--separate`); None: as the recipe says, or
            metric and budgets ask (`allocate.problem.choose_pairing`).
        a_bits: one fixed width for all activations.
        attention_bits: width of q, k, v and p; 16 leaves them float16.
        attention_budget: average width of q, k, v and p, weighted by multiply-adds: each attention's is then chosen.
        bits: layers held by pattern (`head=8/8`, `*.fc2=4..8/8`): widths of weights and activations, fixed or bounded before
            the program; the last that matches decides, behind those of the recipe.
        float_layers: patterns (`*.fc2`) of layers that stay float16.
        softmax: quantizer of p.
        metric: what sensitivity measures; `lampq` does not see activations, so it needs tied or fixed ones.
        alpha: type weights of the metric `lampq`, from the drop of accuracy or from the rise of the loss.
        update: whether to refine the plan by LampQ's error-based update.
        interactions: whether pairs of neighbouring layers are measured too, for terms of the program.
    """

    tied: Annotated[bool | None, Option("Activations take the weights' width, or any.", flags=("--tie/--separate",))] = None
    a_bits: Annotated[int | None, Option("One fixed width for all activations.")] = None
    attention_bits: Annotated[int, Option("Width of q, k, v and of the attention weights; 16: float16.")] = 8
    attention_budget: Annotated[
        float | None,
        Option("Average width of attention's operands, each attention's chosen; instead of --attention-bits."),
    ] = None
    bits: Annotated[
        tuple[str, ...],
        Option(
            "Hold layers by pattern: 'head=8/8', '*.fc2=4..8/8'; repeatable, the last that matches decides.",
            written=list[str] | None,
            read=tuple,
        ),
    ] = ()
    float_layers: Annotated[
        tuple[str, ...], Option("Layers that stay float16 (CUDA): names or patterns, by commas.", read=parse_names)
    ] = ()
    softmax: Annotated[str | None, Option("Quantizer of p: uniform or log_sqrt2. [default: the recipe's]")] = None
    metric: Annotated[
        str | None,
        Option(
            "What a bit is worth: fisher-output, lampq or kl. [default: the recipe's]",
            read=lambda text: text.replace("-", "_"),
        ),
    ] = None
    alpha: Annotated[str | None, Option("Type weights of lampq, from accuracy or loss. [default: the recipe's]")] = None
    update: Annotated[
        bool | None,
        Option("LampQ's error-based update of the plan. [default: the recipe's]", flags=("--update/--no-update",)),
    ] = None

    interactions: Annotated[
        bool | None,
        Option(
            "Measure pairs of neighbouring layers too. [default: the recipe's]", flags=("--interactions/--no-interactions",)
        ),
    ] = None

    @functools.cached_property
    def method(self) -> Recipe:
        """The recipe, with the options that were given in place of its values."""
        from lampq_tvm.api.methods import with_options

        return with_options(self.named_recipe, self)

    def check(self) -> None:
        """Refuse choices that do not go together, or not with the recipe."""
        from lampq_tvm.kinds import PLAN_FLOAT_BITS
        from lampq_tvm.quantizers.protocol import find
        from lampq_tvm.recipes.held import parse_held

        for text in self.bits:
            parse_held(text)
        check_choice("--alpha", self.alpha, ALPHAS)
        if self.softmax is not None:
            find(self.softmax, "probabilities", "--softmax")
        check_range("--a-bits", self.a_bits, 2, 8)
        if self.attention_bits not in (*range(2, 9), PLAN_FLOAT_BITS):
            what = f"{self.attention_bits} is out of range"
            raise UsageError(what, where="--attention-bits", hint=f"give 2..8, or {PLAN_FLOAT_BITS} for float16")
        if self.attention_budget is not None and self.attention_bits != 8:
            raise UsageError("--attention-bits and --attention-budget exclude each other", hint="give one of them")
        if self.attention_budget is not None and not 2 <= self.attention_budget <= 8:
            what = f"{self.attention_budget:g} is out of range"
            raise UsageError(what, where="--attention-budget", hint="give 2..8, for example 6")
        if self.tied is not None and self.a_bits is not None:
            raise UsageError("--tie or --separate and --a-bits exclude each other", hint="give one of them")
        self._check_metric()

    def _check_metric(self) -> None:
        """Refuse options that do not go with the recipe's metric, or with that of `--metric`."""
        from lampq_tvm.sensitivity.metric import METRICS

        check_choice("--metric", self.metric, tuple(METRICS))
        name = self.method.metric.name
        metric = METRICS[name]
        if self.alpha not in (None, ALPHAS[0]) and "alpha" not in metric.options:
            raise UsageError(f"the metric {name} has no alpha", where="--alpha", hint="give --metric lampq as well")
        if self.method.pairs == "separate" and not metric.sees_activations:
            what = f"the metric {name} does not see activations, so it cannot choose their widths"
            where = "--separate" if self.tied is False else "--metric"
            raise UsageError(what, where=where, hint="give --metric fisher_output or kl, or --a-bits N, or --tie")


@dataclass(frozen=True, kw_only=True)
class SensitivityOptions(Group):
    """What sensitivity sees.

    Attributes:
        sens_images: how many images it uses.
    """

    sens_images: Annotated[int, Option("Images for sensitivity.")] = 256

    def check(self) -> None:
        """Refuse numbers out of range."""
        check_range("--sens-images", self.sens_images, 1, LARGE)


@dataclass(frozen=True, kw_only=True)
class LatencyOptions(Group):
    """Where times come from, besides a device.

    Attributes:
        latency_table: a table measured before.
        allow_estimates: let estimated latencies decide.
    """

    latency_table: Annotated[Path | None, Option("A latency table measured before.")] = None
    allow_estimates: Annotated[bool, Option("Let estimated latencies decide.")] = False


@dataclass(frozen=True, kw_only=True)
class TrialOptions(Group):
    """How long kernels are tuned.

    Attributes:
        trials: candidates per kernel; 0 takes the shipped and cached records.
    """

    trials: Annotated[int, Option("Tuning trials per kernel; 0 takes known schedules.")] = 0

    def check(self) -> None:
        """Refuse numbers out of range."""
        check_range("--trials", self.trials, 0, LARGE)


@dataclass(frozen=True, kw_only=True)
class CacheOptions(Group):
    """Whether finished stages are taken.

    Attributes:
        use_cache: take finished stages from the cache.
    """

    use_cache: Annotated[bool, Option("Work everything out anew.", flags=("--no-cache",))] = True
