"""The recipe of a request: read, its names looked up, with the options that were given in place of its values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.errors import UsageError, printable
from lampq_tvm.progress import note
from lampq_tvm.quantizers.protocol import find as find_quantizer
from lampq_tvm.recipes.find import DEFAULT, find_recipe, recipe_file, shipped
from lampq_tvm.recipes.schema import EVERY_WIDTH, ROLES, MetricOptions, QuantizerRule, Recipe
from lampq_tvm.store import digest

if TYPE_CHECKING:
    from lampq_tvm.api.choosing import MethodOptions
    from lampq_tvm.api.options import Options
    from lampq_tvm.latency.table import LatencyTable
    from lampq_tvm.network.model import ImportedModel


def recipes() -> list[dict[str, str]]:
    """The recipes that come with the package: name, description and file of each."""
    rows = [(name, find_recipe(path).description, str(path)) for name, path in shipped().items()]
    rows.sort(key=lambda row: row[0] != DEFAULT)
    return [dict(zip(("name", "description", "file"), row, strict=True)) for row in rows]


def checked_recipe(given: str | Path) -> Recipe:
    """A recipe by name or file, of which every rewrite, quantizer, rounding and metric is there.

    Raises:
        UsageError: there is none of that name, it is no recipe, or names what there is not.
        UnsupportedError: a newer version made it.
    """
    from lampq_tvm.calibrate.rounding import find_rounding
    from lampq_tvm.rewrites.rewrite import REWRITES
    from lampq_tvm.sensitivity.metric import METRICS

    recipe, where = find_recipe(given), str(recipe_file(given))
    for name in recipe.rewrites:
        REWRITES.find(name, where=where)
    for rule in recipe.quantizers:
        for role in ROLES:
            if (name := getattr(rule, role)) is not None:
                find_quantizer(name, role, where)
    find_rounding(recipe.rounding, where)
    metric = METRICS.find(recipe.metric.name, where=where)
    foreign = sorted(recipe.metric.model_fields_set - {"name", *metric.options})
    if foreign:
        raise UsageError(f"the metric {recipe.metric.name} has no {foreign[0]}", where=where, hint="leave it out")
    if recipe.pairs == "separate" and not metric.sees_activations:
        what = f"the metric {recipe.metric.name} does not see activations, so it cannot choose their widths"
        raise UsageError(what, where=where, hint='give pairs = "tied" or "auto"')
    return recipe


def with_options(recipe: Recipe, options: MethodOptions) -> Recipe:
    """A recipe with the options that were given in place of what it says."""
    from lampq_tvm.sensitivity.metric import METRICS

    changes = dict[str, Any]()
    if options.softmax is not None:
        rules = [rule.model_copy(update={"probabilities": None}) for rule in recipe.quantizers]
        changes["quantizers"] = (QuantizerRule(probabilities=options.softmax), *rules)
    metric = recipe.metric
    if options.metric is not None and options.metric != metric.name:  # it has options of its own
        kept = {"labels"} & {*METRICS[options.metric].options}
        metric = MetricOptions(name=options.metric, **metric.model_dump(include=kept, exclude_unset=True))
    if options.bits:
        changes["hold"] = (*recipe.hold, *options.bits)
    if options.alpha is not None:
        metric = metric.model_copy(update={"alpha": options.alpha})
    if options.tied is not None:
        changes["pairs"] = "tied" if options.tied else "separate"
    elif options.a_bits is not None:
        changes["pairs"] = "auto"
    if options.interactions is not None:
        changes["interactions"] = options.interactions
    if options.update is not None:
        changes["update"] = recipe.update.model_copy(update={"enabled": options.update})
    return recipe.model_copy(update={**changes, "metric": metric})


def check_covers(recipe: Recipe, model: ImportedModel) -> None:
    """Refuse a recipe that leaves a layer or an attention without a quantizer; say which of its patterns name none.

    Raises:
        UsageError: no rule gives it one.
    """
    recipe.calibration_key(model)
    recipe.probabilities(model, EVERY_WIDTH[-1])
    for pattern in recipe.unmatched(model):
        note(f"warning: the recipe has a rule for layers {pattern!r}, and no layer is called so")


def signed(plan: BitPlan, options: Options, model: ImportedModel) -> BitPlan:
    """A plan whose notes name the recipe, where its layers are quantized in another way than by `default`.

    Metric, pairs and update leave their trace in the plan itself.
    """
    key = _recipe_key(options.method, model)
    if key == _recipe_key(find_recipe(), model):
        return plan
    return plan.model_copy(update={"notes": {**plan.notes, "recipe": recipe_file(options.recipe).stem, "recipe_key": key}})


def _recipe_key(recipe: Recipe, model: ImportedModel) -> str:
    """Of all that decides about codes and ranges."""
    refit = recipe.refit
    return digest(recipe.calibration_key(model), None if refit is None else refit.model_dump())


def note_other_recipe(plan: BitPlan, options: Options, model: ImportedModel) -> None:
    """Say where a plan was made for layers that are quantized in another way than this request does it."""
    made_for = plan.notes.get("recipe_key", _recipe_key(find_recipe(), model))
    if made_for != _recipe_key(options.method, model):
        made = printable(str(plan.notes.get("recipe", DEFAULT))[:80])
        note(f"warning: the plan was made under the recipe {made}, and this is {options.recipe}; --recipe says which to take")


def timed_for(table: LatencyTable, options: MethodOptions) -> LatencyTable:
    """A table whose notes name the recipe whose kernels it has the times of, where that is not `default`."""
    name = recipe_file(options.recipe).stem
    return table if name == DEFAULT else table.model_copy(update={"notes": {**table.notes, "recipe": name}})


def note_other_times(table: LatencyTable, options: MethodOptions) -> None:
    """Say where a table has the times of another recipe's kernels."""
    measured, name = printable(str(table.notes.get("recipe", DEFAULT))[:80]), recipe_file(options.recipe).stem
    if measured != name:
        note(f"warning: the latency table has the times of the recipe {measured}, and this is {name}: measure --recipe {name}")


def shown_recipe(options: MethodOptions) -> dict[str, str]:
    """What the recipe of a request comes to, as text; where an option that was given wins, with what the recipe says."""
    said, used = _rows(options.named_recipe), _rows(options.method)
    return {"recipe": str(options.recipe)} | {
        key: text if text == said[key] else f"{text} (the recipe: {said[key]})" for key, text in used.items()
    }


def _rows(recipe: Recipe) -> dict[str, str]:
    """A recipe's choices as text, by the name of the option that could be given instead, or of the recipe's key."""
    rounding, update, metric = recipe.rounding, recipe.update, recipe.metric
    kinds = {role: " ".join(dict.fromkeys(k for rule in recipe.quantizers if (k := getattr(rule, role)))) for role in ROLES}
    return {
        "rewrites": " ".join(recipe.rewrites) or "-",
        "weights": kinds["weights"],
        "activations": kinds["activations"],
        "softmax": kinds["probabilities"],
        "rounding": _text(rounding.method, rounding.model_dump(exclude={"method"})),
        "metric": _text(metric.name, metric.model_dump(exclude={"name"}, exclude_unset=True)),
        "pairs": recipe.pairs,
        "interactions": "on" if recipe.interactions else "off",
        "hold": " ".join(recipe.hold) or "-",
        "update": _text("on", update.model_dump(exclude={"enabled"})) if update.enabled else "off",
    }


def _text(name: str, values: dict[str, Any]) -> str:
    """A name and the values that are set."""
    more = ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)
    return f"{name} ({more})" if more else name
