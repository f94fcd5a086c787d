"""Norms whose weights may be missing."""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import emit, lengths


def group_norm(node: fx.Node, importer: Any) -> Expr:
    """Groups of channels [B, C, ..] less their mean over their deviation; its other results are not read."""
    x, weight, bias, *_, groups, eps = importer.retrieve_args(node)
    shape = lengths(x)
    parted = emit(importer, relax.op.reshape(x, [shape[0], groups, -1]))
    mean = emit(importer, relax.op.mean(parted, axis=-1, keepdims=True))
    centred = emit(importer, relax.op.subtract(parted, mean))
    variance = emit(importer, relax.op.mean(relax.op.square(centred), axis=-1, keepdims=True))
    root = emit(importer, relax.op.sqrt(relax.op.add(variance, relax.const(eps, "float32"))))
    found = emit(importer, relax.op.reshape(relax.op.divide(centred, root), shape))
    channels = [1, shape[1], *[1] * (len(shape) - 2)]
    if weight is not None:
        found = emit(importer, relax.op.multiply(found, relax.op.reshape(weight, channels)))
    if bias is not None:
        found = emit(importer, relax.op.add(found, relax.op.reshape(bias, channels)))
    return relax.Tuple([found, mean, variance])


CONVERTERS = {"native_group_norm.default": group_norm}
