"""One token of an image, or the mean of its tokens."""

from __future__ import annotations

from lampq_tvm.kernels.moves import build_take_token
from lampq_tvm.kernels.pooling import build_mean_tokens
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.tokens import QMeanTokens, QTakeToken


@RULES.register(QTakeToken)
def lower_take_token(op: QTakeToken, c: Context) -> list[Call]:
    """One token of each image."""
    source = op.inputs[0]
    token_count, channels = c.shapes[source]
    return [
        Arguments()
        .value(source)
        .call(
            f"take_token_b{c.batch}_t{token_count}_c{channels}_i{op.index}",
            lambda: build_take_token(c.batch, token_count, channels, op.index, c.isa),
            op.name,
            (c.batch, channels),
            "float32",
        )
    ]


@RULES.register(QMeanTokens)
def lower_mean_tokens(op: QMeanTokens, c: Context) -> list[Call]:
    """Mean over an image's tokens."""
    source = op.inputs[0]
    token_count, channels = c.shapes[source]
    return [
        Arguments()
        .value(source)
        .arrays(f"{op.name}.inv")
        .call(
            f"mean_tokens_b{c.batch}_t{token_count}_c{channels}_s{op.start}",
            lambda: build_mean_tokens(c.batch, token_count, channels, op.start, c.isa),
            op.name,
            (c.batch, channels),
            "float32",
        )
    ]
