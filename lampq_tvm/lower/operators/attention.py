"""Softmax attention: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

import functools

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
    arguments = Arguments().value(source).arrays(*fields).encode(op.name, op.encode)
    padded_shape = list(bias_shape(shape, c.isa, op.kind.bits))
    if op.groups:
        places = {"at": f"{op.name}.at", "pattern": f"{op.name}.pattern"}
        arguments.recipe(**{"from": "bias", "tensor": f"{op.name}.bias", **places, "padded": padded_shape})
    else:
        arguments.recipe(**{"from": "values", "values": [[[[0]]]], "dtype": "int32"})
    kernel = AttentionKernel(shape, c.isa, op.kind.bits, op.encode.table is not None)
    return [arguments.call(*c.choose(kernel), op.name, (c.rows(source), channels), "int8")]


@RULES.register(QAttentionPool)
def lower_attention_pool(op: QAttentionPool, c: Context) -> list[Call]:
    """Attention of constant queries."""
    source, queries = op.inputs[0], c.tensors[f"{op.name}.query"].shape[1]
    channels = op.heads * op.head_dim
    sizes = (c.batch, c.shapes[source][0], op.heads, queries, op.head_dim)
    arguments = Arguments().value(source).arrays(*(f"{op.name}.{field}" for field in ("query", "S", "P", "M", "B")))
    arguments.encode(op.name, op.encode)
    table = op.encode.table is not None
    name = f"attention_pool{'_table' if table else ''}_" + "_".join(map(str, sizes))
    shape = (c.batch * queries, channels)
    build = functools.partial(heads.build_attention_pool, *sizes, c.isa, table=table)
    return [arguments.call(name, build, op.name, shape, "int8")]
