"""What a person asks for: the options that `compile`, `plan`, `measure` and `tune` share, checked when they are made."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lampq_tvm.allocate.budget import DEFAULT as DEFAULT
from lampq_tvm.allocate.budget import Budget, DropBudget, parse_budget, parse_drop
from lampq_tvm.data.reading import Reading
from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.preprocessing import check_scale
from lampq_tvm.plan import FLOAT_BITS
from lampq_tvm.recipes.find import DEFAULT as DEFAULT_RECIPE
from lampq_tvm.recipes.kinds import KINDS
from lampq_tvm.recipes.schema import Recipe

ALPHAS = ("accuracy", "loss")
MOST_THREADS = 1024
LARGE = 1 << 30


@dataclass(frozen=True)
class Options:
    """A request.

    Attributes:
        model: a timm name, a `.pt2` or an `.onnx`.
        target: `host`, or a board (`raspberry-pi-5`, `jetson-agx-orin-64gb:cpu`).
        data: images for calibration and sensitivity; may be left out where the weights are random.
        class_order: how class folders are numbered, `text` or `natural`; None where both must agree.
        class_map: a file that says which class each folder is.
        skip_broken: leave out broken image files.
        checkpoint: a safetensors file, or a weights-only torch file.
        pretrained: take timm's published weights.
        model_args: arguments of the timm model (`depth`, `img_size`, ...).
        trust_model: load a `.pt2`, which can hold code.
        mean, std, size: preprocessing, where the model does not name it or another one is wanted.
        seed: of random weights and of the images' draw.
        recipe: the method, by name or file. What is given of `softmax`, `metric`, `alpha`, `tied`, `a_bits` and `update` wins
            over it; `method` is what that comes to.
        budgets: what the plan may cost, all to be met (`4bit`, `4/8bit`, `2.5ms`, `0.6x`, `8MiB`).
        max_drop: largest loss of accuracy in points; the cheapest plan shown to lose no more, on held-back images, is taken.
        val_data: labelled images to show it on; None: those of `data` that neither calibrate nor choose.
        val_images: how many of them are used at most; None: four times what a plan without a loss would need.
        tied: activations take the weights' width (`--tie`), or each layer any pair (`--separate`); None: as the recipe says, or
            metric and budgets ask (`allocate.problem.choose_pairing`).
        a_bits: one fixed width for all activations.
        attention_bits: width of q, k, v and p; 16 leaves them float16.
        float_layers: patterns (`*.fc2`) of layers that stay float16.
        softmax: quantizer of p.
        metric: what sensitivity measures; `lampq` does not see activations, so it needs tied or fixed ones.
        alpha: type weights of the metric `lampq`, from the drop of accuracy or from the rise of the loss.
        calib_images, sens_images: how many images each of the two stages uses.
        update: whether to refine the plan by LampQ's error-based update.
        device: where latency is measured and the artifact is checked.
        latency_table: a table measured before.
        allow_estimates: let estimated latencies decide.
        batch: images the artifact takes at once; threads: cores it uses (None: all of the target's).
        trials: tuning trials per kernel before the build; 0 takes the shipped and cached records.
        jobs: how many layers, images or candidate plans are worked on at once, each by one thread (None: the cores that this
            process may use). No result depends on it.
        use_cache: take finished stages from the cache.
    """

    model: str
    target: str = "host"
    data: Path | None = None
    class_order: str | None = None
    class_map: Path | None = None
    skip_broken: bool = False
    checkpoint: Path | None = None
    pretrained: bool = False
    model_args: Mapping[str, Any] = field(default_factory=dict)
    trust_model: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    seed: int = 0
    recipe: str | Path = DEFAULT_RECIPE
    budgets: tuple[str, ...] = (DEFAULT,)
    max_drop: float | None = None
    val_data: Path | None = None
    val_images: int | None = None
    tied: bool | None = None
    a_bits: int | None = None
    attention_bits: int = 8
    float_layers: tuple[str, ...] = ()
    softmax: str | None = None
    metric: str | None = None
    alpha: str | None = None
    calib_images: int = 128
    sens_images: int = 256
    update: bool | None = None
    device: str | None = None
    latency_table: Path | None = None
    allow_estimates: bool = False
    batch: int = 1
    threads: int | None = None
    trials: int = 0
    jobs: int | None = None
    use_cache: bool = True

    def __post_init__(self) -> None:
        """Refuse what no stage could serve.

        Raises:
            UsageError: a value that is wrong in itself.
            UnsupportedError: a kind of device that is not there yet.
        """
        _choice("--alpha", self.alpha, ALPHAS)
        _choice("--softmax", self.softmax, KINDS["probabilities"])
        for name, value, low, high in self._ranges():
            check_range(name, value, low, high)
        if self.attention_bits not in (*range(2, 9), FLOAT_BITS):
            what = f"{self.attention_bits} is out of range"
            raise UsageError(what, where="--attention-bits", hint=f"give 2..8, or {FLOAT_BITS} for float16")
        if self.checkpoint is not None and self.pretrained:
            raise UsageError("--checkpoint and --pretrained exclude each other", hint="give one of them")
        if self.tied is not None and self.a_bits is not None:
            raise UsageError("--tie or --separate and --a-bits exclude each other", hint="give one of them")
        check_scale(self.mean, self.std)
        if self.max_drop is not None and not 0 < self.max_drop <= 100:
            what = f"no number of images can show a drop of {self.max_drop:g} points"
            raise UsageError(what, where="--max-drop", hint="give more than 0 and up to 100, for example 0.5")
        if self.max_drop is None and (self.val_data is not None or self.val_images is not None):
            option = "--val-data" if self.val_data is not None else "--val-images"
            raise UsageError("nothing is judged without --max-drop", where=option, hint="give that as well, or leave this out")
        _ = self.parsed_budgets, self.drop, self.reading
        check_device(self.device)
        self._check_method()

    @functools.cached_property
    def named_recipe(self) -> Recipe:
        """The recipe as it is written."""
        from lampq_tvm.api.methods import checked_recipe

        return checked_recipe(self.recipe)

    @functools.cached_property
    def method(self) -> Recipe:
        """The recipe, with the options that were given in place of its values."""
        from lampq_tvm.api.methods import with_options

        return with_options(self.named_recipe, self)

    def _check_method(self) -> None:
        """Refuse options that do not go with the recipe's metric, or with that of `--metric`."""
        from lampq_tvm.sensitivity.metric import METRICS

        _choice("--metric", self.metric, tuple(METRICS))
        name = self.method.metric.name
        metric = METRICS[name]
        if self.alpha not in (None, ALPHAS[0]) and "alpha" not in metric.options:
            raise UsageError(f"the metric {name} has no alpha", where="--alpha", hint="give --metric lampq as well")
        if self.method.pairs == "separate" and not metric.sees_activations:
            what = f"the metric {name} does not see activations, so it cannot choose their widths"
            where = "--separate" if self.tied is False else "--metric"
            raise UsageError(what, where=where, hint="give --metric fisher_output or kl, or --a-bits N, or --tie")

    def _ranges(self) -> list[tuple[str, int | None, int, int]]:
        """(option, value, low, high) of every whole number."""
        return [
            ("--seed", self.seed, 0, 2**63 - 1),
            ("--a-bits", self.a_bits, 2, 8),
            ("--calib-images", self.calib_images, 1, LARGE),
            ("--sens-images", self.sens_images, 1, LARGE),
            ("--val-images", self.val_images, 1, LARGE),
            ("--batch", self.batch, 1, 1024),
            ("--threads", self.threads, 1, MOST_THREADS),
            ("--trials", self.trials, 0, LARGE),
            ("--jobs", self.jobs, 1, MOST_THREADS),
            ("--size", self.size, 1, 1 << 14),
        ]

    @property
    def reading(self) -> Reading:
        """How images and their labels are read."""
        return Reading(self.class_order, None if self.class_map is None else Path(self.class_map), self.skip_broken)

    @property
    def parsed_budgets(self) -> tuple[Budget, ...]:
        """The budgets, read."""
        return tuple(parse_budget(text) for text in self.budgets)

    @property
    def drop(self) -> DropBudget | None:
        """The largest loss of accuracy, read."""
        return None if self.max_drop is None else parse_drop(f"{self.max_drop:g}")

    @property
    def is_uniform8(self) -> bool:
        """Whether the 8-bit plan is asked for and nothing else: no sensitivity is needed for it."""
        if self.float_layers and self.budgets:  # their 16 bits count
            return False
        return self._only_bits(8) and self.a_bits in (None, 8)

    @property
    def is_uniform16(self) -> bool:
        """Whether all of the model stays float16."""
        return bool(self.budgets) and self._only_bits(FLOAT_BITS) and self.a_bits is None

    def _only_bits(self, bits: int) -> bool:
        """Whether budgets are of bits alone, and none lies below `bits`."""
        wide = all(b.kind == "bits" and b.value >= bits and (b.a_value or bits) >= bits for b in self.parsed_budgets)
        return wide and self.max_drop is None

    def shown(self) -> dict[str, str]:
        """Every resolved option as text, for the table printed before work starts."""
        from lampq_tvm.api.methods import shown_recipe

        rows = {}
        for f in dataclasses.fields(self):
            if f.name in ("softmax", "metric", "alpha", "update"):  # what the recipe comes to is shown instead
                continue
            value = getattr(self, f.name)
            if isinstance(value, Mapping):
                value = " ".join(f"{k}={json.dumps(v)}" for k, v in value.items())
            elif isinstance(value, Sequence) and not isinstance(value, str):
                value = " ".join(str(v) for v in value)
            rows[f.name.replace("_", "-")] = "-" if value is None or value == "" else str(value)
        return rows | shown_recipe(self)


def check_device(text: str | None) -> None:
    """Refuse what is no device.

    Raises:
        UsageError: not one of the forms of `--device`, or the key given for it is no secret.
        UnsupportedError: a kind that is not served yet.
    """
    from lampq_tvm.device.kinds import find_device

    find_device(text).check()


def parse_model_args(pairs: Sequence[str]) -> dict[str, Any]:
    """`k=v` pairs; values are read as JSON where they can be.

    >>> parse_model_args(["depths=[2,2]", "act=gelu"])
    {'depths': [2, 2], 'act': 'gelu'}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.isidentifier():
            raise UsageError(f"{pair!r} is not k=v", where="--model-arg", hint="for example depth=6")
        try:
            found[key] = json.loads(text)
        except (ValueError, RecursionError):
            found[key] = text
    return found


def parse_floats(text: str | None, where: str) -> tuple[float, ...] | None:
    """Numbers separated by commas."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as e:
        raise UsageError(f"{text!r} is not a list of numbers", where=where, hint="for example 0.485,0.456,0.406") from e


def check_range(where: str, value: int | None, low: int, high: int) -> None:
    """Raise UsageError unless a whole number lies in low..high; None is not looked at."""
    if value is not None and not low <= value <= high:
        raise UsageError(f"{value} is out of range", where=where, hint=f"give {low}..{high}")


def _choice(where: str, value: str | None, allowed: Sequence[str]) -> None:
    """Raise UsageError unless value is one of those allowed, or None."""
    if value not in (None, *allowed):
        raise UsageError(f"{value!r} is not a choice", where=where, hint=f"use {', '.join(allowed)}")
