"""One token of an image, or the mean of its tokens."""

from __future__ import annotations

from torch import Tensor

from lampq_tvm.quantize.operators.tokens import QMeanTokens, QTakeToken
from lampq_tvm.quantize.reference_rules import RULES


@RULES.register(QTakeToken)
def take_token(op: QTakeToken, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """One of them."""
    return x[0].select(1, op.index)


@RULES.register(QMeanTokens)
def mean_tokens(op: QMeanTokens, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Added in their order."""
    total, *rest = x[0][:, op.start :].unbind(1)
    for token in rest:
        total = total + token
    return total * t["inv"]
