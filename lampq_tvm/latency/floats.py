"""The float model as kernels of its own: the baseline of budgets like `0.6x` on a board, where no float framework is at hand.

Its time is the sum over the kernels, as a plan's is. What is left out can only make the baseline faster, so that a budget is
never met by a slow one: moves of tokens, rotations, packing of keys and values, and what runs between kernels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tvm.tirx import PrimFunc

from lampq_tvm.kernels.elementwise import build_add
from lampq_tvm.kernels.floats import FloatShape, build_float_product, build_float_softmax, build_float_unary
from lampq_tvm.kernels.layernorm import build_layernorm
from lampq_tvm.network.model import Activation, Attention, AttentionPool, Gate, ImportedModel, LayerNorm, MatMul, Op, Residual

Shape = tuple[int, ...]
Part = tuple[str, Callable[[str], PrimFunc]]  # a kernel's name, and what builds it for a level


@dataclass(frozen=True)
class FloatKernel:
    """A kernel of the float model, and how often the model runs it."""

    name: str
    function: PrimFunc
    count: int


def float_work(model: ImportedModel, isa: str, batch: int) -> list[FloatKernel]:
    """The kernels of a model, each distinct one once."""
    found: dict[str, tuple[Callable[[str], PrimFunc], int]] = {}
    for name, build in _all_parts(model, batch):
        found[name] = build, found.get(name, (build, 0))[1] + 1
    return [FloatKernel(name, build(isa), count) for name, (build, count) in found.items()]


def _all_parts(model: ImportedModel, batch: int) -> Iterator[Part]:
    """Kernels of every layer, then of what lies between them."""
    for layer in model.layers:
        yield _product(FloatShape(1, batch * layer.macs // layer.params, layer.out_features, layer.in_features, shared=True))
    for op in model.ops:
        yield from _parts(op, (batch, *model.shapes[op.inputs[0]]), (batch, *model.shapes[op.name]))


def _parts(op: Op, given: Shape, made: Shape) -> Iterator[Part]:
    """Kernels of an operator without weights, by its first input's shape and its output's; none for what moves values."""
    rows = math.prod(made[:-1])
    match op:
        case Attention() | AttentionPool():
            yield from _attention(rows // made[-2] * op.heads, made[-2], given[-2], op.head_dim)
        case MatMul():
            yield _product(FloatShape(rows // made[-2], made[-2], made[-1], given[-1]))
        case LayerNorm():
            kind = "norm" if op.centred else "rms"
            build = functools.partial(build_layernorm, rows, made[-1], op.eps, False, centred=op.centred)
            yield f"float_{kind}_{rows}x{made[-1]}", build
        case Activation():
            yield _unary(op.kind, rows, made[-1])
        case Gate():  # its multiplication takes as long as an addition
            yield _unary(op.kind, rows, op.width)
            yield _add(rows, op.width)
        case Residual():
            yield _add(rows, made[-1])


def _attention(heads: int, queries: int, keys: int, depth: int) -> Iterator[Part]:
    """Scores, their softmax, and the values' product of `heads` heads in all."""
    yield _product(FloatShape(heads, queries, keys, depth))
    rows = heads * queries
    yield f"float_softmax_{rows}x{keys}", lambda isa: build_float_softmax(rows, keys, isa)
    yield _product(FloatShape(heads, queries, depth, keys))


def _product(shape: FloatShape) -> Part:
    name = f"float_product_{shape.count}x{shape.rows}x{shape.n}x{shape.k}{'_shared' if shape.shared else ''}"
    return name, lambda isa: build_float_product(shape, isa)


def _unary(kind: str, rows: int, channels: int) -> Part:
    kind = kind if kind == "relu" else "smooth"
    return f"float_{kind}_{rows}x{channels}", lambda isa: build_float_unary(kind, rows, channels, isa)


def _add(rows: int, channels: int) -> Part:
    return f"float_add_{rows}x{channels}", lambda isa: build_add(rows, channels, isa)
