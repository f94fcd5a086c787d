"""Parts that stay float: their constants as they are, the image normalized for those that read it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.op import IMAGE
from lampq_tvm.network.operators.float_part import FloatPart
from lampq_tvm.quantize.build_rules import PAYLOAD, REALS
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.operators.float_part import QFloatPart, QNormalized

NORMALIZED = "image.normalized"


@REALS.register(FloatPart)
def part(b: Builder, op: FloatPart) -> str:
    """What it reads in float32, then its nodes."""
    inputs = tuple(_normalized(b) if name == IMAGE else b.real(name) for name in op.inputs)
    return b.add(QFloatPart(op.name, inputs, op.nodes, op.ins, op.out), **op.constants(b.model.tensors))


def _normalized(b: Builder) -> str:
    if NORMALIZED in b.ops:
        return NORMALIZED
    mean, std = (np.array(each, np.float64) for each in (b.model.input.mean, b.model.input.std))
    scale, shift = (each.astype(np.float32) for each in (1 / (255 * std), -mean / std))
    return b.add(QNormalized(NORMALIZED, (IMAGE,)), scale=scale, shift=shift)


@PAYLOAD.register(FloatPart)
def part_bytes(model: ImportedModel, op: FloatPart, floats: Collection[str]) -> int:
    """Its constants."""
    return sum(int(array.nbytes) for array in op.constants(model.tensors).values())
