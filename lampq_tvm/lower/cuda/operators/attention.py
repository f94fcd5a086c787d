"""Softmax attention: of tokens over each other, and of constant queries over tokens."""

from __future__ import annotations

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.cuda.attention import build_attention, scores_made
from lampq_tvm.kernels.cuda.attention_half import build_half_attention
from lampq_tvm.kernels.cuda.attention_shape import GROUP, CudaAttentionShape
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.fits import check_attention
from lampq_tvm.kernels.cuda.levels import attention_mma, half_mma
from lampq_tvm.kernels.cuda.pool import PoolShape, build_pool
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array, encoded
from lampq_tvm.lower.cuda.limits import HEAD_STEP, LARGEST_POOLED
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.operators.attention import QAttention, QAttentionPool


@RULES.register(QAttention)
def lower_attention(op: QAttention, c: CudaContext) -> list[Launch]:
    """Scores, table softmax and values in one kernel."""
    if op.head_dim % HEAD_STEP:
        what = f"there is no CUDA kernel for attention heads of {op.head_dim} channels"
        raise UnsupportedError(what, where=op.name, hint="compile for the board's :cpu")
    source = op.inputs[0]
    count = c.shapes[source][-2]
    patterns = len(c.tensors[f"{op.name}.at"]) if op.groups else 0
    sizes = {"groups": op.groups, "patterns": patterns}
    bare, half = CudaAttentionShape(c.rows(source) // count, count, op.heads, op.head_dim, **sizes), op.kind.is_float
    shape = bare if half else c.records.attention(bare)
    check_attention(shape, c.arch, half=half, where=op.name)
    out = c.coded(op.name, op.encode.stored)
    kind, table = Kind(out.dtype), op.encode.table is not None
    name = f"attention{'_f16' if half else ''}_i{shape.images}_t{count}_h{op.heads}x{op.head_dim}_o{kind.bits}"
    name += f"_w{shape.row_warps}x{shape.key_warps}" + (f"_g{op.groups}_{patterns}" if op.groups else "")
    name += "_table" if table else ""
    passes = 1 + (1 if half else scores_made(shape, attention_mma(c.arch)))
    params = {letter: array(f"{op.name}.{letter}") for letter in ("SMB" if half else "SPMB")}
    params |= encoded(op.name, op.encode)
    if op.groups:
        padded = [patterns, op.heads, count, round_up(count, GROUP)]
        params["bias"] = {"from": "bias", "tensor": f"{op.name}.bias", "at": f"{op.name}.at", "padded": padded}
        params["pattern"] = {**array(f"{op.name}.pattern"), "dtype": "int32"}

    def build(name: str) -> CudaKernel:
        if half:
            return build_half_attention(shape, half_mma(c.arch), out=kind, table=table, name=name)
        return build_attention(shape, attention_mma(c.arch), out=kind, table=table, name=name)

    return [
        Launch(
            name,
            build,
            {"qkv": source},
            params,
            ("out", out),
            macs=passes * shape.images * op.heads * count * count * op.head_dim,
        )
    ]


@RULES.register(QAttentionPool)
def lower_attention_pool(op: QAttentionPool, c: CudaContext) -> list[Launch]:
    """Attention of constant queries."""
    source, (_, queries, _) = op.inputs[0], c.tensors[f"{op.name}.query"].shape
    if op.head_dim % HEAD_STEP or op.head_dim > LARGEST_POOLED:
        what = f"there is no CUDA kernel for pooling heads of {op.head_dim} channels"
        raise UnsupportedError(what, where=op.name, hint="compile for the board's :cpu")
    shape, half = PoolShape(c.batch, c.shapes[source][0], op.heads, queries, op.head_dim), op.kind.is_float
    out = c.coded(op.name, op.encode.stored)
    kind, table = Kind(out.dtype), op.encode.table is not None
    params = {letter: array(f"{op.name}.{letter}") for letter in ("SMB" if half else "SPMB")}
    params |= {"query": array(f"{op.name}.query")} | encoded(op.name, op.encode)

    def build(name: str) -> CudaKernel:
        return build_pool(shape, half=half, out=kind, table=table, name=name)

    name = f"pool{'_f16' if half else ''}_{shape.key}_o{kind.bits}" + ("_table" if table else "")
    return [Launch(name, build, {"kv": source}, params, ("out", out))]
