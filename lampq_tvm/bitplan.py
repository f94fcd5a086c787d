"""The bit plan: a readable JSON that says each layer's widths, which a person may edit."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from lampq_tvm.errors import CorruptError, UsageError
from lampq_tvm.files import Schema, read_json
from lampq_tvm.kinds import PLAN_FLOAT_BITS, Kind, of_width
from lampq_tvm.network.model import Attends, ImportedModel
from lampq_tvm.quantizers.protocol import find
from lampq_tvm.store import write_atomic

HINT = "make it anew with lampq plan"
IMAGE_TYPES = frozenset({"patch_embed"})  # of layers that read the image itself, whose codes always have 8 bits


def _width(bits: int) -> int:
    """A width that there is; ValueError else."""
    if not (2 <= bits <= 8 or bits == PLAN_FLOAT_BITS):
        raise ValueError(f"{bits} bits are not supported: give 2 to 8, or {PLAN_FLOAT_BITS} for float16")
    return bits


def _softmax(name: str) -> str:
    """The name of a quantizer of probabilities; ValueError else."""
    try:
        find(name, "probabilities")
    except UsageError as e:
        raise ValueError(str(e)) from None
    return name


Width = Annotated[int, pydantic.AfterValidator(_width)]
CodeWidth = Annotated[int, pydantic.Field(ge=2, le=8)]
Softmax = Annotated[str, pydantic.AfterValidator(_softmax)]


class LayerPlan(Schema):
    """One layer's widths.

    Attributes:
        name, type, params: as in the layer table.
        w_bits: width of the weights, 2..8, or 16 for float16.
        a_bits: width of the layer's input, 2..8, and 16 where the weights have 16 (the image is always 8).
        reason: why this width was chosen, for people.
    """

    name: str
    type: str
    w_bits: Width
    a_bits: Width
    params: int = pydantic.Field(ge=0)
    reason: str = ""

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> LayerPlan:
        if not self.reads_image and self.a.is_float != self.is_float:
            raise ValueError(f"layer {self.name!r}: w_bits and a_bits are both {PLAN_FLOAT_BITS} or neither is")
        return self

    @property
    def reads_image(self) -> bool:
        """Whether its input is the image, which always has 8 bits and stays out of the average of activations."""
        return self.type in IMAGE_TYPES

    @property
    def w(self) -> Kind:
        """Kind of the weights."""
        return of_width(self.w_bits)

    @property
    def a(self) -> Kind:
        """Kind of the input."""
        return of_width(self.a_bits)

    @property
    def is_float(self) -> bool:
        """Whether the layer stays float16."""
        return self.w.is_float


class BitPlan(Schema):
    """Widths of a whole model.

    Attributes:
        model: the source it was made for.
        attention_bits: width of q, k, v and p; 16 for float16; by attention where they differ, 2 to 8 each.
        softmax: name of the quantizer of p; by attention where they differ.
        layers: in the order of the layer table.
        budgets: the budgets it was made for, as given.
        notes: figures of the solver (predicted loss, ms, bytes) and the origin of the latencies.
    """

    version: Literal[1] = 1
    model: str
    attention_bits: Width | dict[str, CodeWidth] = 8
    softmax: Softmax | dict[str, Softmax] = "uniform"
    layers: tuple[LayerPlan, ...]
    budgets: tuple[str, ...] = ()
    notes: dict[str, Any] = {}

    def layer(self, name: str) -> LayerPlan:
        """The row of layer `name`."""
        return next(row for row in self.layers if row.name == name)

    def softmax_of(self, attention: str) -> str:
        """Quantizer of an attention's p."""
        return self.softmax if isinstance(self.softmax, str) else self.softmax[attention]

    def attention_of(self, attention: str) -> Kind:
        """Kind of an attention's q, k, v and p."""
        bits = self.attention_bits
        return of_width(bits if isinstance(bits, int) else bits[attention])

    @property
    def float_attention(self) -> bool:
        """Whether attention stays float16."""
        return self.attention_bits == PLAN_FLOAT_BITS

    @property
    def attention_widths(self) -> tuple[int, ...]:
        """Of all attentions, each once."""
        bits = self.attention_bits
        return (bits,) if isinstance(bits, int) else tuple(sorted(set(bits.values())))

    @property
    def floats(self) -> tuple[str, ...]:
        """What stays float16: names of layers, and `attention`."""
        names = tuple(row.name for row in self.layers if row.is_float)
        return (*names, "attention") if self.float_attention else names

    def with_floats(self, names: Collection[str]) -> BitPlan:
        """The plan with some layers left in float16."""
        rows = [row.model_copy(update=_float_widths(row.type)) if row.name in names else row for row in self.layers]
        return self.model_copy(update={"layers": tuple(rows)})

    @property
    def avg_w_bits(self) -> float:
        """Average weight width, weighted by parameters."""
        return sum(r.w_bits * r.params for r in self.layers) / sum(r.params for r in self.layers)

    @property
    def avg_a_bits(self) -> float:
        """Average activation width, weighted by parameters; the patch embedding's image stays out."""
        rows = [r for r in self.layers if not r.reads_image]
        return sum(r.a_bits * r.params for r in rows) / max(1, sum(r.params for r in rows))

    def save(self, path: Path) -> None:
        """Write as indented JSON."""
        write_atomic(path, (json.dumps(self.model_dump(), indent=2) + "\n").encode())

    @staticmethod
    def load(path: Path) -> BitPlan:
        """Read a plan.

        Raises:
            CorruptError: it is no plan, or a width is out of range. UnsupportedError: a newer version made it.
        """
        return read_json(Path(path), BitPlan, "the plan", unreadable=CorruptError, hint=HINT)

    def check_fits(self, model: ImportedModel, where: str = "plan") -> None:
        """Raise CorruptError unless the plan names exactly the model's layers with their types and sizes."""
        layers = {layer.name: layer for layer in model.layers}
        names = [row.name for row in self.layers]
        for name in names:
            if name not in layers:
                near = ", ".join(list(layers)[:3])
                raise CorruptError(f"the model has no layer {name!r}", where=where, hint=f"its layers are {near}, ...")
        missing = [name for name in layers if name not in names]
        if missing or len(set(names)) != len(names):
            what = f"layer {missing[0]!r} has no row" if missing else "a layer has two rows"
            raise CorruptError(what, where=where, hint="every layer of the model needs one row")
        for row in self.layers:
            if (row.type, row.params) != (layers[row.name].type, layers[row.name].params):
                raise CorruptError(f"layer {row.name!r} has another type or size in this model", where=where)
        attentions = {op.name for op in model.ops if isinstance(op, Attends)}
        for field, one in (("softmax", "quantizer"), ("attention_bits", "width")):
            given = getattr(self, field)
            if isinstance(given, dict) and attentions != set(given):
                extra, unnamed = set(given) - attentions, attentions - set(given)
                what = f"the model has no attention {min(extra)!r}" if extra else f"{field} does not name {min(unnamed)!r}"
                raise CorruptError(what, where=where, hint=f"{field} is one {one}, or one for each attention")


def float_pair(layer_type: str) -> tuple[int, int]:
    """Widths (w, a) of a layer left in float16."""
    return PLAN_FLOAT_BITS, 8 if layer_type in IMAGE_TYPES else PLAN_FLOAT_BITS


def _float_widths(layer_type: str) -> dict[str, int]:
    return dict(zip(("w_bits", "a_bits"), float_pair(layer_type), strict=True))


def uniform_plan(
    model: ImportedModel,
    w_bits: int,
    a_bits: int,
    attention_bits: int | dict[str, int] = 8,
    softmax: str | dict[str, str] = "uniform",
) -> BitPlan:
    """The plan with every layer at w_bits / a_bits (the image stays at 8)."""
    rows = tuple(
        LayerPlan(
            name=layer.name,
            type=layer.type,
            w_bits=w_bits,
            a_bits=8 if layer.reads_image else a_bits,
            params=layer.params,
        )
        for layer in model.layers
    )
    return BitPlan(model=model.source, attention_bits=attention_bits, softmax=softmax, layers=rows)
