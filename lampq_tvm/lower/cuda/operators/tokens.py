"""One token of an image, or the mean of its tokens."""

from __future__ import annotations

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array, builder
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.tokens import QMeanTokens, QTakeToken


@RULES.register(QTakeToken)
def lower_take_token(op: QTakeToken, c: CudaContext) -> list[Launch]:
    """One token of each image."""
    count, channels = c.shapes[op.inputs[0]]
    out = c.add(op.name, "float32")
    name = f"take_b{c.batch}_t{count}_c{channels}_i{op.index}"
    build = builder(tokens.build_take, c.batch, count, op.index % count, channels)
    return [Launch(name, build, {"x": op.inputs[0]}, {}, ("out", out))]


@RULES.register(QMeanTokens)
def lower_mean_tokens(op: QMeanTokens, c: CudaContext) -> list[Launch]:
    """Mean over an image's tokens."""
    count, channels = c.shapes[op.inputs[0]]
    out = c.add(op.name, "float32")
    name = f"mean_b{c.batch}_t{count}_c{channels}_s{op.start}"
    build = builder(tokens.build_mean, c.batch, count, op.start, channels)
    return [Launch(name, build, {"x": op.inputs[0]}, {"inv": array(f"{op.name}.inv")}, ("out", out))]
