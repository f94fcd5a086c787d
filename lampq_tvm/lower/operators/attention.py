"""Softmax attention: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

from lampq_tvm.kernels import heads
from lampq_tvm.kernels.attention import AttentionShape, bias_shape
from lampq_tvm.kernels.tunable import AttentionKernel
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.attention import QAttention, QAttentionPool


@RULES.register(QAttention)
def lower_attention(op: QAttention, c: Context) -> list[Call]:
    """Scores, table softmax and values in one kernel."""
    source = op.inputs[0]
    token_count, channels = c.shapes[source][-2], op.heads * op.head_dim
    shape = AttentionShape(c.rows(source) // token_count, token_count, op.heads, op.head_dim, op.groups)
    fields = [f"{op.name}.{name}" for name in ("S", "P", "M", "B")]
    arguments = Arguments().value(source).arrays(*fields).code_range(op.out_bits)
    padded_shape = list(bias_shape(shape, c.isa, op.bits))
    if op.groups:
        places = {"at": f"{op.name}.at", "pattern": f"{op.name}.pattern"}
        arguments.recipe(**{"from": "bias", "tensor": f"{op.name}.bias", **places, "padded": padded_shape})
    else:
        arguments.recipe(**{"from": "values", "values": [[[[0]]]], "dtype": "int32"})
    kernel = AttentionKernel(shape, c.isa, op.bits)
    return [arguments.call(*c.choose(kernel), op.name, (c.rows(source), channels), "int8")]


@RULES.register(QAttentionPool)
def lower_attention_pool(op: QAttentionPool, c: Context) -> list[Call]:
    """Attention of constant queries."""
    source, queries = op.inputs[0], c.tensors[f"{op.name}.query"].shape[1]
    channels = op.heads * op.head_dim
    sizes = (c.batch, c.shapes[source][0], op.heads, queries, op.head_dim)
    arguments = Arguments().value(source).arrays(*(f"{op.name}.{field}" for field in ("query", "S", "P", "M", "B")))
    arguments.code_range(op.out_bits)
    name = "attention_pool_" + "_".join(map(str, sizes))
    shape = (c.batch * queries, channels)
    return [arguments.call(name, lambda: heads.build_attention_pool(*sizes), op.name, shape, "int8")]
