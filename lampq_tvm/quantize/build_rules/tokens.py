"""One token of an image, taken before the LayerNorm that reads it alone, or the mean of its tokens."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.tokens import MeanTokens, TakeToken
from lampq_tvm.quantize.build_rules import CODES, PAYLOAD, REALS
from lampq_tvm.quantize.build_rules.norm import norm_codes, norm_float
from lampq_tvm.quantize.builder import Builder, Wanted
from lampq_tvm.quantize.operators.tokens import QMeanTokens, QTakeToken


@REALS.register(TakeToken)
def token_float(b: Builder, op: TakeToken) -> str:
    """The token, normalized where it is taken from a LayerNorm."""
    norm = b.norm_before(op)
    if norm is not None:
        return norm_float(b, op.name, norm, _token(b, op, norm.inputs[0]))
    return b.add(QTakeToken(op.name, (b.real(op.inputs[0]),), op.index))


@CODES.register(TakeToken)
def token_codes(b: Builder, op: TakeToken, wanted: Wanted) -> str | None:
    """Its LayerNorm's codes, where there is one."""
    norm = b.norm_before(op)
    return None if norm is None else norm_codes(b, wanted.name, norm, _token(b, op, norm.inputs[0]), wanted.y)


@REALS.register(MeanTokens)
def mean(b: Builder, op: MeanTokens) -> str:
    """The mean, its factor rounded once."""
    inverse = np.array([1 / (b.tokens(op.inputs[0]) - op.start)], np.float32)
    return b.add(QMeanTokens(op.name, (b.real(op.inputs[0]),), op.start), inv=inverse)


def _token(b: Builder, op: TakeToken, source: str) -> str:
    """The token taken before its norm, which works on each token alone."""
    return b.add(QTakeToken(f"{op.name}.stream", (b.real(source),), op.index))


@PAYLOAD.register(TakeToken, MeanTokens)
def token_bytes(model: ImportedModel, op: TakeToken | MeanTokens, floats: Collection[str]) -> int:
    """At most one factor, which is not counted."""
    return 0
