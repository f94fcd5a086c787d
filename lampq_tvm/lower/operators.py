"""One function per operator of the integer network: which kernels it calls, with which constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.attention import AttentionShape, bias_shape
from lampq_tvm.kernels.elementwise import build_average, build_to_codes
from lampq_tvm.kernels.image import build_patches
from lampq_tvm.kernels.isa import weight_peak
from lampq_tvm.kernels.moves import build_prepend, build_take_token
from lampq_tvm.kernels.pooling import build_mean_tokens
from lampq_tvm.kernels.shapes import ProductShape, padded
from lampq_tvm.kernels.tunable import AttentionKernel, LayerNormKernel, ProductKernel
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.tokens import lower_add, lower_attention_pool, lower_gate, lower_regroup, lower_rotary, lower_unit_heads
from lampq_tvm.network.model import Op
from lampq_tvm.quantize import model as q


def lower_op(op: Op, c: Context) -> list[Call]:
    """Kernel calls of an operator; its output's shape is added to the context.

    Raises:
        UnsupportedError: there is no kernel for it.
    """
    handler = HANDLERS.get(type(op))
    if handler is None:
        raise UnsupportedError("there is no kernel for this operator", where=f"{op.name} ({type(op).__name__})")
    return handler(op, c)


def product_call(
    c: Context,
    op_name: str,
    source: str,
    shape: ProductShape,
    widths: tuple[int, int],
    rest: Callable[[Arguments], object],
    stream: str | None = None,
) -> Call:
    """Call of a product kernel; `rest` adds the epilogue's arguments; the output may be written over the `stream`."""
    w_bits, a_bits = widths
    kernel = ProductKernel(shape, c.isa, w_bits, a_bits)
    dot = kernel.dot
    weights = {"tensor": f"{op_name}.w", "bits": w_bits, "shape": [shape.n, shape.k]}
    if int(np.abs(c.tensors[f"{op_name}.w"].astype(np.int16)).max(initial=0)) > weight_peak(w_bits):
        raise AssertionError(f"{op_name}: a weight code beyond what {w_bits} bits hold")
    arguments = Arguments().value(source)
    arguments.recipe(**{"from": dot.layout, **weights, "padded": padded(shape, dot), "lanes": dot.lanes, "group": dot.group})
    if dot.shift:
        arguments.recipe(**{"from": "correction", **weights, "shift": dot.shift})
    rest(arguments)
    dtype = "int8" if shape.epilogue in ("codes", "table") else "float32"
    return arguments.call(*c.choose(kernel), op_name, (shape.rows, shape.n), dtype, stream)


def lower_product(op: q.QProduct, c: Context) -> list[Call]:
    """Product with its epilogue."""
    source, n, k = op.inputs[0], *c.tensors[f"{op.name}.w"].shape
    stream = op.inputs[1] if op.epilogue == "residual" else None
    c.shapes[op.name] = (*c.shapes[source][:-1], n)

    def rest(arguments: Arguments) -> None:
        if stream is not None:
            arguments.value(stream)
        scale = "M" if op.epilogue in ("codes", "table") else "S"
        arguments.arrays(f"{op.name}.{scale}", f"{op.name}.B")
        if op.epilogue == "codes":
            arguments.code_range(op.out_bits)
        if op.epilogue == "table":
            arguments.arrays(f"{op.name}.table")

    shape = ProductShape(c.rows(source), n, k, op.epilogue)
    return [product_call(c, op.name, source, shape, (op.w_bits, op.a_bits), rest, stream)]


def lower_patch_embed(op: q.QPatchEmbed, c: Context) -> list[Call]:
    """Gather patches, multiply onto the positions, put the prefix tokens in front."""
    spec, n = c.input, c.tensors[f"{op.name}.w"].shape[0]
    count = (spec.height // op.patch) * (spec.width // op.patch)
    k = spec.channels * op.patch * op.patch
    prefix = len(c.tensors[f"{op.name}.prefix"])
    image = (c.batch, spec.channels, spec.height, spec.width, op.patch)
    gathered, embedded = f"{op.name}.patches", f"{op.name}.tokens" if prefix else op.name
    gather = Arguments().value("image")
    calls = [
        gather.call(
            "patches_" + "x".join(map(str, image)),
            lambda: build_patches(*image, c.isa),
            gathered,
            (c.batch * count, k),
            "int8",
        )
    ]
    shape = ProductShape(c.batch * count, n, k, "stream", len(c.tensors[f"{op.name}.pos"]))
    names = [f"{op.name}.S", f"{op.name}.B", f"{op.name}.pos"]
    product = product_call(c, op.name, gathered, shape, (op.w_bits, 8), lambda a: a.arrays(*names))
    calls.append(dataclasses.replace(product, value=embedded))
    if prefix:
        calls.append(
            Arguments()
            .value(embedded)
            .arrays(f"{op.name}.prefix")
            .call(
                f"prepend_b{c.batch}_p{prefix}_t{count}_c{n}",
                lambda: build_prepend(c.batch, prefix, count, n, c.isa),
                op.name,
                (c.batch * (prefix + count), n),
                "float32",
            )
        )
    c.shapes[op.name] = (prefix + count, n)
    return calls


def lower_norm(op: q.QLayerNorm | q.QFloatNorm, c: Context) -> list[Call]:
    """LayerNorm to codes or to float."""
    source, to_codes = op.inputs[0], isinstance(op, q.QLayerNorm)
    rows, channels = c.rows(source), c.channels(source)
    c.shapes[op.name] = c.shapes[source]
    arguments = Arguments().value(source).arrays(f"{op.name}.G", f"{op.name}.B")
    arguments.code_range(op.out_bits if isinstance(op, q.QLayerNorm) else 8)
    kernel = LayerNormKernel(rows, channels, op.eps, to_codes, c.isa)
    return [arguments.call(*c.choose(kernel), op.name, (rows, channels), "int8" if to_codes else "float32")]


def lower_attention(op: q.QAttention, c: Context) -> list[Call]:
    """Scores, table softmax and values in one kernel."""
    source = op.inputs[0]
    token_count, channels = c.shapes[source][-2], op.heads * op.head_dim
    shape = AttentionShape(c.rows(source) // token_count, token_count, op.heads, op.head_dim, op.groups)
    c.shapes[op.name] = (*c.shapes[source][:-1], channels)
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


def lower_take_token(op: q.QTakeToken, c: Context) -> list[Call]:
    """One token of each image."""
    source = op.inputs[0]
    token_count, channels = c.shapes[source]
    c.shapes[op.name] = (channels,)
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


def lower_mean_tokens(op: q.QMeanTokens, c: Context) -> list[Call]:
    """Mean over an image's tokens."""
    source = op.inputs[0]
    token_count, channels = c.shapes[source]
    c.shapes[op.name] = (channels,)
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


def lower_to_codes(op: q.QToCodes, c: Context) -> list[Call]:
    """Codes of a float value."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.channels(source)
    c.shapes[op.name] = c.shapes[source]
    arguments = Arguments().value(source).arrays(f"{op.name}.affine").code_range(op.out_bits)
    name = f"to_codes_r{rows}_c{channels}"
    return [arguments.call(name, lambda: build_to_codes(rows, channels, c.isa), op.name, (rows, channels), "int8")]


def lower_average(op: q.QAverageHeads, c: Context) -> list[Call]:
    """Mean of two classifiers."""
    a, b = op.inputs
    rows, channels = c.rows(a), c.channels(a)
    c.shapes[op.name] = c.shapes[a]
    arguments = Arguments().value(a).value(b)
    name = f"average_r{rows}_c{channels}"
    return [arguments.call(name, lambda: build_average(rows, channels, c.isa), op.name, (rows, channels), "float32")]


HANDLERS: dict[type, Callable[..., list[Call]]] = {
    q.QPatchEmbed: lower_patch_embed,
    q.QLayerNorm: lower_norm,
    q.QFloatNorm: lower_norm,
    q.QProduct: lower_product,
    q.QAttention: lower_attention,
    q.QAttentionPool: lower_attention_pool,
    q.QUnitHeads: lower_unit_heads,
    q.QRotary: lower_rotary,
    q.QGate: lower_gate,
    q.QRegroup: lower_regroup,
    q.QAdd: lower_add,
    q.QTakeToken: lower_take_token,
    q.QMeanTokens: lower_mean_tokens,
    q.QToCodes: lower_to_codes,
    q.QAverageHeads: lower_average,
}
