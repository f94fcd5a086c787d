"""Compares a recognized network with the program it came from, before anything is built on it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.finish import Recognized
from lampq_tvm.frontend.graph import Graph
from lampq_tvm.frontend.recognize import recognize
from lampq_tvm.network.execute import run_to
from lampq_tvm.network.model import ImportedModel, InputSpec
from lampq_tvm.network.op import IMAGE, Op
from lampq_tvm.network.operators.float_part import FloatPart
from lampq_tvm.store import digest

TOLERANCE = 1e-4
ROUNDED = 1e-2  # of a network with its own parameters, what roundings may make of themselves in float32


def recognize_and_prove(graph: Graph, shape: tuple[int, int, int, int], strict: bool = True) -> Recognized:
    """Recognize a graph, and prove it twice: with its own parameters and with random ones.

    Own parameters alone prove little: a LayerScale of 1e-6 hides a whole branch, zeros and ones hide a bias or a gamma.

    Args:
        graph: the exported program.
        shape: [B, C, H, W] it was exported for.
        strict: whether what has no rule is refused; else it stays float.

    Raises:
        UnsupportedError: an operator is not recognized, or an output differs by more than 1e-4 of its largest value.
    """
    found = recognize(graph, shape, strict)
    _compare(graph, found, shape)
    own = graph.parameters()
    apart = _random_parameters(own)
    try:
        _compare_random(graph, found, shape, strict, apart)
    except UnsupportedError:
        alike = _alike(own, apart, shape[0])  # a file may hold one table several times, and rules need them to be one
        if not alike:
            raise
        _compare_random(graph, found, shape, strict, {**apart, **alike})
    return found


def _compare_random(
    graph: Graph, found: Recognized, shape: tuple[int, int, int, int], strict: bool, parameters: dict[str, Tensor]
) -> None:
    """The same operators come of other parameters, and compute what the program computes of them."""
    random = Graph(graph.program, graph.where, parameters)
    other = recognize(random, shape, strict)
    if (_outlined(other.ops), other.outputs) != (_outlined(found.ops), found.outputs):
        raise UnsupportedError("what the network computes depends on its parameters' values", where=graph.where)
    _compare(random, other, shape, math.inf)  # which may blow up what nobody trained


def _alike(own: dict[str, Tensor], random: dict[str, Tensor], images: int) -> dict[str, Tensor]:
    """Random tables that are equal where the model's own are: two of them, or one's rows for each of several images.

    Vectors stay apart: most of them are zeros or ones.
    """
    first: dict[str, str] = {}
    found: dict[str, Tensor] = {}
    for name, value in sorted(own.items()):
        if value.ndim > 1:
            other = first.setdefault(digest(value.numpy()), name)
            if 1 < images == len(value) and torch.equal(value, value[:1].expand_as(value)):
                found[name] = random[other][:1].expand_as(value)
            elif other != name:
                found[name] = random[other]
    return found


def _outlined(ops: Iterable[Op]) -> list[Op]:
    """Operators without what is in parts that stay float: a factor of one is left out there."""
    return [
        dataclasses.replace(op, inputs=tuple(sorted(op.inputs)), nodes=(), ins=()) if isinstance(op, FloatPart) else op
        for op in ops
    ]


def _random_parameters(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters none of which is zero or one: vectors around one, matrices that keep a signal's size."""
    generator = torch.Generator().manual_seed(1)
    made = {}
    for name, value in sorted(own.items()):
        noise = torch.randn(value.shape, generator=generator)
        fan_in = value[0].numel() if value.ndim > 1 and len(value) > 1 else 4
        made[name] = 1 + 0.3 * noise if value.ndim < 2 else noise / fan_in**0.5
    return made


def _compare(graph: Graph, found: Recognized, shape: tuple[int, int, int, int], most: float = ROUNDED) -> None:
    """In float32; where that differs a little, in float64, since some networks make much of a rounding."""
    errors = _errors(graph, found, shape, torch.float32)
    if not _small(errors) and all(error <= most for error in errors):
        with contextlib.suppress(RuntimeError, UnsupportedError):  # a program may say float32 itself
            errors = _errors(graph, found, shape, torch.float64)
    if not _small(errors):
        what = f"the recognized operators do not compute what the model computes (relative error {max(errors):.1e})"
        raise UnsupportedError(what, where=graph.where, hint="please report this model")


def _small(errors: list[float]) -> bool:
    return all(error <= TOLERANCE for error in errors)  # NaN is no error that is small


def _errors(graph: Graph, found: Recognized, shape: tuple[int, int, int, int], dtype: torch.dtype) -> list[float]:
    """Of every output."""
    alone = any(isinstance(op, FloatPart) for op in found.ops)  # then it says itself what depends on the number of images
    images = torch.randn((shape[0] + alone, *shape[1:]), generator=torch.Generator().manual_seed(2)).to(dtype)
    try:
        wanted = graph.run(images) if not alone else _one_by_one(graph, images, shape)
    except Exception as e:  # whatever the program itself raises, such as for a device that is not here
        reason = next(iter(str(e).strip().splitlines()), type(e).__name__)
        raise UnsupportedError(f"the program cannot run here ({reason})", where=graph.where) from e
    model = _as_model(found, shape)
    wide = {k: v.to(dtype) for k, v in found.tensors.items() if v.is_floating_point()}
    with torch.no_grad():
        given = run_to(model, {IMAGE: images}, found.outputs, tensors=wide)
        first = run_to(model, {IMAGE: images[:1]}, found.outputs, tensors=wide) if alone else {}
    pairs = [(given[name], each) for name, each in zip(found.outputs, wanted, strict=True)]
    pairs += [(first[name], each[:1]) for name, each in zip(found.outputs, wanted, strict=True) if alone]
    return [_error(*pair) for pair in pairs]


def _one_by_one(graph: Graph, images: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Outputs of images each of which the program takes alone."""
    rows = [graph.run(image.expand(shape)) for image in images]
    return tuple(torch.cat([each[: len(each) // shape[0]] for each in column]) for column in zip(*rows, strict=True))


def _error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference, in units of the largest value."""
    if got.shape != wanted.shape:
        return float("inf")
    differ = got != wanted  # equal infinities do not
    away = float((got - wanted).abs()[differ].max()) if bool(differ.any()) else 0.0
    largest = float(wanted[wanted.isfinite()].abs().max()) if bool(wanted.isfinite().any()) else 0.0
    return away / largest if largest else float("inf") if away else 0.0


def _as_model(found: Recognized, shape: tuple[int, int, int, int]) -> ImportedModel:
    _, channels, height, width = shape
    spec = InputSpec(channels, height, width, (0.0,) * channels, (1.0,) * channels)
    tensors: dict[str, np.ndarray] = {k: v.numpy() for k, v in found.tensors.items()}
    return ImportedModel("proof", found.ops, found.outputs, spec, "random", found.has_classifier, tensors)
