"""One function per operator of the integer network: which CUDA kernels it launches, with which constants."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lampq_tvm.allocate.plan import FLOAT_BITS
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.model import Op
from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.kernels.cuda.attention import build_attention, scores_made
from lampq_tvm.kernels.cuda.attention_half import build_half_attention
from lampq_tvm.kernels.cuda.attention_shape import GROUP, CudaAttentionShape
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.epilogue import CODED
from lampq_tvm.kernels.cuda.fits import check_attention
from lampq_tvm.kernels.cuda.levels import attention_mma, half_mma, mma_for
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.shapes import ProductShape, round_up
from lampq_tvm.lower.cuda import tokens as around
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import BITS, Launch, Value, array, clamp, code_range, text_of
from lampq_tvm.lower.cuda.norms import following_norm, lower_norm
from lampq_tvm.lower.cuda.support import HEAD_STEP
from lampq_tvm.quantize import model as q


def lower_op(op: Op, c: CudaContext) -> list[Launch]:
    """Launches of an operator; its value is added to the context.

    Raises:
        UnsupportedError: there is no kernel for it.
    """
    handler = HANDLERS.get(type(op))
    if handler is None:
        raise UnsupportedError("there is no CUDA kernel for this operator", where=f"{op.name} ({type(op).__name__})")
    return handler(op, c)


def product_launch(
    c: CudaContext, op: q.QProduct | q.QPatchEmbed, source: str, shape: ProductShape, mma: Mma, out: Value, prefix: int = 0
) -> Launch:
    """Launch of a product; a LayerNorm that was left to it, before it or after, is part of the kernel."""
    norm = c.fused.get(source)
    tiles = c.records.product(shape, mma, norm is not None)
    words = weight_words(shape, mma, tiles)
    scale = "M" if shape.epilogue in ("codes", "table") else "S"
    params = {"W": {"from": "words", "tensor": f"{op.name}.w", "bits": op.w_bits, "shape": [shape.n, shape.k]}}
    params["W"] |= {"layout": mma.name, "words": words}
    params |= {"S": array(f"{op.name}.{scale}"), "B": array(f"{op.name}.B")}
    if shape.epilogue == "codes" and _out_bits(op) < FLOAT_BITS:
        params["range"] = code_range(_out_bits(op))
    if shape.epilogue in ("table", "stream"):
        name = "table" if shape.epilogue == "table" else "pos"
        params[name] = array(f"{op.name}.{name}")
    bits = BITS[out.dtype] if shape.epilogue in CODED else 8
    if shape.epilogue == "act" and bits < FLOAT_BITS:
        params |= {"affine": array(f"{op.name}.affine"), "range": code_range(_out_bits(op))}
    reads = {"A": source}
    if norm is not None:
        reads = {"stream": norm.inputs[0]}
        params |= {"G": array(f"{norm.name}.G"), "N": array(f"{norm.name}.B")}
        params |= {} if norm.out_bits == FLOAT_BITS else {"bounds": code_range(norm.out_bits)}
    eps, act = None if norm is None else norm.eps, op.act if isinstance(op, q.QProduct) else ""
    suffix = f"_o{bits}" + (f"_f{prefix}" if prefix else "") + ("" if eps is None else f"_e{text_of(eps)}") + act
    after = following_norm(op, shape, tiles, c)
    params |= {} if after is None else after.params
    suffix += "" if after is None else after.suffix
    following, also = (None, None) if after is None else (after.following, ("codes", after.value))

    def build(name: str) -> CudaKernel:
        made = functools.partial(build_product, shape, mma, out_bits=bits, prefix=prefix, tiles=tiles)
        return made(norm_eps=eps, act=act, following=following, name=name)

    over = op.inputs[1] if shape.epilogue == "residual" else None
    rate = {"s4": "int4", "f16": "fp16"}.get(mma.name, "int8")
    macs, key = shape.rows * shape.n * shape.k, f"{shape.key}_{mma.name}{suffix}_t{tiles.key}"
    return Launch(key, build, reads, params, ("out", out), over, also, macs, rate)


def lower_product(op: q.QProduct, c: CudaContext) -> list[Launch]:
    """Product with its epilogue."""
    source, (n, k) = op.inputs[0], c.tensors[f"{op.name}.w"].shape
    shape, rows = (*c.shapes[source][:-1], n), c.rows(source)
    bits = FLOAT_BITS if op.epilogue == "table" and c.tensors[f"{op.name}.table"].dtype == np.float16 else op.out_bits
    out = c.coded(op.name, shape, bits) if op.epilogue in CODED else c.add(op.name, shape, "float32")
    return [product_launch(c, op, source, ProductShape(rows, n, k, op.epilogue), c.mma(op), out)]


def lower_patch_embed(op: q.QPatchEmbed, c: CudaContext) -> list[Launch]:
    """Patches as rows, their product onto the positions, prefix tokens in front."""
    spec, n = c.input, c.tensors[f"{op.name}.w"].shape[0]
    count, k = (spec.height // op.patch) * (spec.width // op.patch), spec.channels * op.patch * op.patch
    prefix, period = len(c.tensors[f"{op.name}.prefix"]), len(c.tensors[f"{op.name}.pos"])
    sizes, bits = (c.batch, spec.channels, spec.height, spec.width, op.patch), FLOAT_BITS if op.w_bits == FLOAT_BITS else 8
    patches = c.add(f"{op.name}.patches", (count, k), "float16" if bits == FLOAT_BITS else "int8")
    launches = [
        Launch(
            "patches_" + "x".join(map(str, sizes)) + ("" if bits == 8 else "_f16"),
            lambda name: tokens.build_patches(*sizes, name=name, bits=bits),
            {"image": "image"},
            {},
            ("out", patches),
        )
    ]
    shape = ProductShape(c.batch * count, n, k, "stream", count if prefix else period)
    mma = mma_for(op.w_bits, 8, c.arch)
    embedded = c.add(f"{op.name}.tokens" if prefix else op.name, (prefix + count, n), "float32")
    product = product_launch(c, op, patches.name, shape, mma, embedded, prefix)
    if shape.period != period:  # one position for all patches
        product = replace(product, params={**product.params, "pos": {**array(f"{op.name}.pos"), "times": count}})
    launches.append(product)
    if prefix:
        out = c.add(op.name, (prefix + count, n), "float32")
        launches.append(
            Launch(
                f"prefix_b{c.batch}_p{prefix}_t{prefix + count}_c{n}",
                lambda name: tokens.build_prefix(c.batch, prefix, prefix + count, n, name=name),
                {},
                {"prefix": array(f"{op.name}.prefix")},
                ("out", out),
                embedded.name,
            )
        )
    return launches


def _out_bits(op: q.QProduct | q.QPatchEmbed) -> int:
    return op.out_bits if isinstance(op, q.QProduct) else 8


def lower_attention(op: q.QAttention, c: CudaContext) -> list[Launch]:
    """Scores, table softmax and values in one kernel."""
    if op.head_dim % HEAD_STEP or (op.groups and op.bits == FLOAT_BITS):
        odd = op.head_dim % HEAD_STEP
        what = f"attention heads of {op.head_dim} channels" if odd else "a bias of float16 scores"
        raise UnsupportedError(f"there is no CUDA kernel for {what}", where=op.name, hint="compile for the board's :cpu")
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
