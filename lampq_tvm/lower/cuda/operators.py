"""One function per operator of the integer network: which CUDA kernels it launches, with which constants."""

from __future__ import annotations

from collections.abc import Callable

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.cuda.attention import build_attention, scores_made
from lampq_tvm.kernels.cuda.attention_half import build_half_attention
from lampq_tvm.kernels.cuda.attention_shape import GROUP, CudaAttentionShape
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.fits import check_attention
from lampq_tvm.kernels.cuda.levels import attention_mma, half_mma
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.lower.cuda import tokens as around
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import BITS, Launch, array, clamp
from lampq_tvm.lower.cuda.norms import lower_norm
from lampq_tvm.lower.cuda.products import lower_patch_embed, lower_product
from lampq_tvm.lower.cuda.support import HEAD_STEP
from lampq_tvm.network.model import Op
from lampq_tvm.plan import FLOAT_BITS
from lampq_tvm.quantize import model as q


def lower_op(op: Op, c: CudaContext) -> list[Launch]:
    """Launches of an operator; its value is added to the context.

    Raises:
        UnsupportedError: there is no kernel for it.
    """
    if op.name in c.made:
        return []
    handler = HANDLERS.get(type(op))
    if handler is None:
        raise UnsupportedError("there is no CUDA kernel for this operator", where=f"{op.name} ({type(op).__name__})")
    return handler(op, c)


def lower_attention(op: q.QAttention, c: CudaContext) -> list[Launch]:
    """Scores, table softmax and values in one kernel."""
    if op.head_dim % HEAD_STEP:
        what = f"there is no CUDA kernel for attention heads of {op.head_dim} channels"
        raise UnsupportedError(what, where=op.name, hint="compile for the board's :cpu")
    source = op.inputs[0]
    count = c.shapes[source][-2]
    patterns = len(c.tensors[f"{op.name}.at"]) if op.groups else 0
    sizes = {"groups": op.groups, "patterns": patterns}
    bare, half = CudaAttentionShape(c.rows(source) // count, count, op.heads, op.head_dim, **sizes), op.bits == FLOAT_BITS
    shape = bare if half else c.records.attention(bare)
    check_attention(shape, c.arch, half=half, where=op.name)
    out = c.coded(op.name, (*c.shapes[source][:-1], op.heads * op.head_dim), op.out_bits)
    bits = BITS[out.dtype]
    name = f"attention{'_f16' if half else ''}_i{shape.images}_t{count}_h{op.heads}x{op.head_dim}_o{bits}"
    name += f"_w{shape.row_warps}x{shape.key_warps}" + (f"_g{op.groups}_{patterns}" if op.groups else "")
    passes = 1 + (1 if half else scores_made(shape, attention_mma(c.arch)))
    params = {letter: array(f"{op.name}.{letter}") for letter in ("SMB" if half else "SPMB")}
    params |= clamp(op.out_bits)
    if op.groups:
        padded = [patterns, op.heads, count, round_up(count, GROUP)]
        params["bias"] = {"from": "bias", "tensor": f"{op.name}.bias", "at": f"{op.name}.at", "padded": padded}
        params["pattern"] = {**array(f"{op.name}.pattern"), "dtype": "int32"}

    def build(name: str) -> CudaKernel:
        if half:
            return build_half_attention(shape, half_mma(c.arch), out_bits=bits, name=name)
        return build_attention(shape, attention_mma(c.arch), out_bits=bits, name=name)

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


HANDLERS: dict[type, Callable[..., list[Launch]]] = {
    q.QPatchEmbed: lower_patch_embed,
    q.QLayerNorm: lower_norm,
    q.QFloatNorm: lower_norm,
    q.QProduct: lower_product,
    q.QAttention: lower_attention,
    q.QAttentionPool: around.lower_attention_pool,
    q.QTakeToken: around.lower_take_token,
    q.QMeanTokens: around.lower_mean_tokens,
    q.QAdd: around.lower_sum,
    q.QAverageHeads: around.lower_sum,
    q.QUnitHeads: around.lower_unit_heads,
    q.QRotary: around.lower_rotary,
    q.QGate: around.lower_gate,
    q.QRegroup: around.lower_regroup,
    q.QToCodes: around.lower_to_codes,
}
