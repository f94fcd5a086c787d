"""What a recipe says: which rewrites, which quantizers where, how weights are rounded, what a bit is worth."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Annotated, Literal, get_args

import pydantic

from lampq_tvm.errors import UsageError
from lampq_tvm.files import Schema
from lampq_tvm.network.model import LAYER_TYPES, Attends, ImportedModel
from lampq_tvm.quantizers.probabilities import is_fitted
from lampq_tvm.recipes.held import Held, parse_held
from lampq_tvm.store import digest

ATTENTION = "attention"  # the type of softmax attention, whose probabilities have a quantizer of their own
Role = Literal["weights", "activations", "probabilities"]
ROLES: tuple[Role, ...] = get_args(Role)  # of quantizers that a recipe names
HAVE: dict[Role, tuple[str, ...]] = {  # types that have a quantizer of a role
    "weights": LAYER_TYPES,
    "activations": LAYER_TYPES,
    "probabilities": (ATTENTION,),
}


EVERY_WIDTH = tuple(range(2, 9))


class QuantizerRule(Schema):
    """Quantizers, by name, of the layers that it matches.

    Attributes:
        layers: patterns of names (`blocks.0.*`), any of which matches.
        types: patterns of types (`fc1`, `attention`), any of which matches.
        bits: widths of the codes that it is meant for; all where it does not say.
        weights, activations: of a layer's weights and of its input.
        probabilities: of an attention's p.
    """

    layers: tuple[str, ...] = ("*",)
    types: tuple[str, ...] = ("*",)
    bits: tuple[Annotated[int, pydantic.Field(ge=2, le=8)], ...] = EVERY_WIDTH
    weights: str | None = None
    activations: str | None = None
    probabilities: str | None = None

    @pydantic.field_validator("types")
    @classmethod
    def _known(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        known = (*LAYER_TYPES, ATTENTION)
        for pattern in types:
            if not fnmatch.filter(known, pattern):
                raise ValueError(f"no layer is of type {pattern!r}: there are {', '.join(known)}")
        return types

    @pydantic.model_validator(mode="after")
    def _decides(self) -> QuantizerRule:
        named = [role for role in ROLES if getattr(self, role) is not None]
        if (
            not self.layers
            or not self.bits
            or not any(fnmatch.filter(HAVE[role], pattern) for role in named for pattern in self.types)
        ):
            raise ValueError("the rule decides nothing: layers of its types have no quantizer that it names")
        return self

    def matches(self, name: str, kind: str, bits: int) -> bool:
        """Whether it is meant for codes of a width in a layer of this name and type."""
        return (
            bits in self.bits
            and any(fnmatch.fnmatchcase(name, p) for p in self.layers)
            and any(fnmatch.fnmatchcase(kind, p) for p in self.types)
        )


class RoundingOptions(Schema):
    """How weights become codes.

    Attributes:
        method: one of `calibrate.roundings`.
        widest_bits: of compensated codes; wider ones are rounded to nearest.
        damping: of compensated codes, a share of the mean second moment: samples are few and inputs correlated.
    """

    method: str
    widest_bits: int | None = pydantic.Field(default=None, ge=2, le=7)
    damping: float | None = pydantic.Field(default=None, gt=0)


class RefitOptions(Schema):
    """Weights and biases fitted once more under a plan, to inputs from the quantized layers before (`calibrate.refit`).

    Attributes:
        toward: `layer` keeps what each layer computes, as GPTQ does; `float` also corrects it for what the layers before got
            wrong.
        widest_bits: of weights that are; wider ones stay as calibration left them.
        damping: added to second moments, a share of their mean.
        rank: of `float`, at most that of the correction: low-rank compensation, merged into the weights; None: any.
        compensated: whether columns make up for each other's rounding; else codes are the nearest.
        descended_bits: of weights whose codes are looked at once more (`calibrate.descent`), at most; 0: of none.
    """

    toward: Literal["layer", "float"] = "float"
    widest_bits: int = pydantic.Field(default=7, ge=2, le=8)
    damping: float = pydantic.Field(default=0.05, gt=0)
    rank: int | None = pydantic.Field(default=None, ge=1)
    compensated: bool = True
    descended_bits: int = pydantic.Field(default=0, ge=0, le=8)


class MetricOptions(Schema):
    """What a bit is worth, by sensitivity's metric.

    Attributes:
        name: of the metric.
        labels: of the Fisher, `empirical` (the data's) or `sampled` (from the model). Labels that are missing, out of range
            or no better than chance for the float model count as not there.
        alpha: of `lampq`, A(t): `accuracy` (the paper's) or `loss` (rise of the cross entropy).
        beta: of `lampq`, the width at which A(t) is measured; None: the narrowest candidate.
        gamma: of `lampq`, the factor by which a bit lowers the loss.
        mu: of `lampq`, layers per type at which A(t) is measured.
    """

    name: str = "fisher_output"
    labels: Literal["empirical", "sampled"] = "empirical"
    alpha: Literal["accuracy", "loss"] = "accuracy"
    beta: int | None = pydantic.Field(default=None, ge=2, le=8)
    gamma: float = pydantic.Field(default=4.0, gt=1)
    mu: int = pydantic.Field(default=3, ge=1)


class UpdateOptions(Schema):
    """LampQ's error-based update of a plan.

    Attributes:
        enabled: whether it is done, where labels mean something.
        ratios: `measured` (a neighbour's error is measured too) or `paper` (it follows from the error at the present width by
            the paper's ratio table).
        patience: swaps without an improvement, each tried from the best plan, after which it stops. The paper's is 1.
        max_swaps: accepted swaps at most.
    """

    enabled: bool = True
    ratios: Literal["measured", "paper"] = "measured"
    patience: int = pydantic.Field(default=1, ge=1)
    max_swaps: int = pydantic.Field(default=50, ge=1)


class Recipe(Schema):
    """A method.

    Attributes:
        description: one line for people.
        rewrites: names of what changes the float model and keeps its meaning, in this order.
        quantizers: rules; for each of a layer's quantizers the first that matches it and names one decides.
        refit: how weights are fitted once more when the plan is known; None: they are not.
        hold: layers whose widths are fixed or bounded, as `--bits` writes them; the last that matches a layer decides.
        pairs: whether activations take the weights' width (`tied`), any (`separate`), or as metric and budgets ask (`auto`).
        interactions: whether pairs of neighbouring layers are measured too, for terms of the program.
    """

    version: Literal[1]
    description: str = pydantic.Field(min_length=1, max_length=160, pattern=r"^[^\n]*$")
    rewrites: tuple[str, ...]
    quantizers: tuple[QuantizerRule, ...]
    rounding: RoundingOptions
    refit: RefitOptions | None = None
    metric: MetricOptions
    pairs: Literal["auto", "tied", "separate"] = "auto"
    interactions: bool = False
    hold: tuple[str, ...] = ()
    update: UpdateOptions

    @pydantic.field_validator("hold")
    @classmethod
    def _holds(cls, hold: tuple[str, ...]) -> tuple[str, ...]:
        try:
            _ = [parse_held(text) for text in hold]
        except UsageError as e:
            raise ValueError(e.what) from None
        return hold

    @property
    def held(self) -> tuple[Held, ...]:
        """The same, read."""
        return tuple(parse_held(text) for text in self.hold)

    def quantizer(self, role: Role, name: str, kind: str, bits: int) -> str:
        """Name of a layer's quantizer.

        Args:
            name, kind: of the layer; an attention's kind is `attention`.
            bits: of its codes.

        Raises:
            UsageError: no rule gives it one.
        """
        for rule in self.quantizers:
            found: str | None = getattr(rule, role)
            if found is not None and rule.matches(name, kind, bits):
                return found
        what = f"no rule gives the {role} of {name} ({kind}) a quantizer at {bits} bits"
        raise UsageError(what, where="recipe", hint="add a last rule that matches everything")

    def probabilities(self, model: ImportedModel, bits: int) -> str | dict[str, str]:
        """Quantizer of p at a width: one name where all attentions have the same, else by attention; float16 asks as 8 bits."""
        found = self.probabilities_by_attention(model, bits)
        kinds = set(found.values()) or {self.quantizer("probabilities", ATTENTION, ATTENTION, min(bits, EVERY_WIDTH[-1]))}
        return kinds.pop() if len(kinds) == 1 else found

    def probabilities_by_attention(self, model: ImportedModel, bits: int) -> dict[str, str]:
        """The same for each attention."""
        names = [op.name for op in model.ops if isinstance(op, Attends)]
        return {name: self.quantizer("probabilities", name, ATTENTION, min(bits, EVERY_WIDTH[-1])) for name in names}

    def unmatched(self, model: ImportedModel) -> list[str]:
        """Patterns of names that no layer and no attention of a model matches."""
        names = [layer.name for layer in model.layers]
        names += [op.name for op in model.ops if isinstance(op, Attends)]
        patterns = dict.fromkeys(pattern for rule in self.quantizers for pattern in rule.layers)
        return [pattern for pattern in patterns if not any(fnmatch.fnmatchcase(name, pattern) for name in names)]

    def calibration_key(self, model: ImportedModel) -> str:
        """Digest of all that decides about a model's calibration: what only later stages read is not part of it."""
        roles: Iterable[Role] = ("weights", "activations")
        chosen = [
            [role, layer.name, [self.quantizer(role, layer.name, layer.type, bits) for bits in EVERY_WIDTH]]
            for role in roles
            for layer in model.layers
        ]
        fitted = [[name, kinds] for op in model.ops if isinstance(op, Attends) if (kinds := self.fitted(name := op.name))]
        return digest(list(self.rewrites), chosen, self.rounding.model_dump(), fitted)

    def fitted(self, attention: str) -> dict[int, str]:
        """Quantizers of an attention's p that are fitted to what images show, by width."""
        kinds = {bits: self.quantizer("probabilities", attention, ATTENTION, bits) for bits in EVERY_WIDTH}
        return {bits: kind for bits, kind in kinds.items() if is_fitted(kind)}
