"""One token of an image, or the mean of its tokens."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.tokens import QMeanTokens, QTakeToken


@RULES.register(QTakeToken)
def take_token(op: QTakeToken, t: dict[str, Array], x: list[Array]) -> Array:
    """One of them."""
    return ops.take_token(x[0], op.index)


@RULES.register(QMeanTokens)
def mean_tokens(op: QMeanTokens, t: dict[str, Array], x: list[Array]) -> Array:
    """Added in their order."""
    return ops.mean_tokens(x[0], op.start, t["inv"])
