"""What `lampq doctor MODEL` says: the layers of any transformer, and what keeps it from being compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.features import Wanted
from lampq_tvm.frontend.layers import layer_table
from lampq_tvm.frontend.load import import_source
from lampq_tvm.frontend.refusals import known_refusals
from lampq_tvm.frontend.source import Request, open_source
from lampq_tvm.network.macs import Part, float_parts, total_macs
from lampq_tvm.network.model import InputSpec, Layer


@dataclass(frozen=True)
class DoctorReport:
    """A model's anatomy.

    Attributes:
        source: `timm:NAME` or `file:FILE`.
        supported: whether `load_model` accepts it.
        refused: what stands in the way, most telling first, each with its place; empty where supported.
        layers: the layer table, in execution order.
        parts: what stays float, in execution order; empty where it is refused.
        parameters: numbers in all trained tensors, those of the layers included.
        macs: multiply-adds of the layers and of attention for one image, those of the parts too.
        input: the image it takes.
        weights: `trained` or `random`.
    """

    source: str
    supported: bool
    refused: tuple[str, ...]
    layers: tuple[Layer, ...]
    parts: tuple[Part, ...]
    parameters: int
    macs: int
    input: InputSpec
    weights: str

    @property
    def gmacs(self) -> float:
        """Multiply-adds in billions."""
        return self.macs / 1e9


def doctor(
    model: str,
    *,
    checkpoint: Path | None = None,
    pretrained: bool = False,
    model_args: dict[str, Any] | None = None,
    trust_model: bool = False,
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    strict_integer: bool = False,
    features: str | None = None,
    feature_form: str = "nchw",
) -> DoctorReport:
    """Examine a model; arguments as in `load_model`.

    Raises:
        UsageError: an argument or a file is wrong.
        UnsupportedError: the model is unknown, cannot be exported, or has no attention layer.
    """
    given = Path(checkpoint) if checkpoint is not None else None
    wanted = None if features is None else Wanted.of(features, feature_form)
    source = open_source(Request(str(model), given, pretrained, model_args, trust_model, seed, mean, std, size, wanted))
    refusals: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    try:
        found = import_source(source, strict_integer)
        layers, parts = found.layers, float_parts(found)
        macs = total_macs(found, parts)
    except UnsupportedError as e:
        layers = layer_table(source.graph)
        macs = sum(layer.macs for layer in layers)
        known = tuple(f"{place}: {text}" if place else text for text, place in known_refusals(source.graph))
        refusals = known or (f"{e.where}: {e.what}",)
    return DoctorReport(
        source=source.name,
        supported=not refusals,
        refused=refusals,
        layers=layers,
        parts=parts,
        parameters=sum(t.numel() for t in source.graph.parameters().values()),
        macs=macs,
        input=source.input,
        weights=source.weights,
    )
