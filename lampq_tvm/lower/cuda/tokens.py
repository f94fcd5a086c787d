"""Lowering for a GPU of what happens to tokens and heads around the products: windows, pooling, lengths, rotation, gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.cuda import heads, tokens
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.pool import PoolShape, build_pool
from lampq_tvm.kernels.cuda.regroup import RegroupShape, build_regroup
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import BITS, Launch, array, clamp, text_of
from lampq_tvm.lower.cuda.support import HEAD_STEP, LARGEST_POOLED
from lampq_tvm.plan import FLOAT_BITS
from lampq_tvm.quantize import model as q


def lower_regroup(op: q.QRegroup, c: CudaContext) -> list[Launch]:
    """Tokens in another order, unless the product after them reads them where they stand."""
    source, index = op.inputs[0], c.tensors[f"{op.name}.index"]
    channels, parts, taken = c.shapes[source][-1], index.shape[-1], int(np.prod(index.shape[:-1]))
    shape = (*index.shape[:-1], parts * channels)
    if c.gathers(op):
        c.shapes[op.name] = shape
        return []
    bits = BITS[c.values[source].dtype]
    out = c.add(op.name, shape, "float32") if bits == BITS["float32"] else c.coded(op.name, shape, bits)
    sizes = RegroupShape(c.batch, op.rows, taken, parts, channels, bits, BITS[out.dtype])
    stored = {**array(f"{op.name}.index"), "shape": [taken, parts], "dtype": "int32"}
    params = {"index": stored, "fill": array(f"{op.name}.fill")}
    return [Launch(f"regroup_{sizes.key}", _builder(build_regroup, sizes), {"x": source}, params, ("out", out))]


def lower_rotary(op: q.QRotary, c: CudaContext) -> list[Launch]:
    """q and k turned, to codes."""
    source, count = op.inputs[0], len(c.tensors[f"{op.name}.cos"])
    out = c.coded(op.name, c.shapes[source], op.out_bits)
    params = {name: array(f"{op.name}.{name}") for name in ("cos", "sin", "partner", "inv")}
    sizes = (c.rows(source), count, op.heads, op.head_dim, BITS[out.dtype])
    build = _builder(heads.build_rotary, *sizes)
    return [Launch("rotary_" + "_".join(map(str, sizes)), build, {"qkv": source}, params | clamp(op.out_bits), ("out", out))]


def lower_unit_heads(op: q.QUnitHeads, c: CudaContext) -> list[Launch]:
    """q and k over their lengths, to codes."""
    source = op.inputs[0]
    out = c.coded(op.name, c.shapes[source], op.out_bits)
    rows, bits = c.rows(source), BITS[out.dtype]
    name = f"unit_r{rows}_h{op.heads}x{op.head_dim}_o{bits}_e{text_of(op.eps)}"
    build = _builder(heads.build_unit_heads, rows, op.heads, op.head_dim, op.eps, bits)
    return [Launch(name, build, {"qkv": source}, {"inv": array(f"{op.name}.inv")} | clamp(op.out_bits), ("out", out))]


def lower_gate(op: q.QGate, c: CudaContext) -> list[Launch]:
    """Activation of some columns times others, and its codes where nothing else is wanted of it."""
    gate, value = op.inputs
    shape, params, codes = (*c.shapes[gate][:-1], op.width), {"table": array(f"{op.name}.table")}, c.only_reader(op.name)
    if isinstance(codes, q.QToCodes):
        out = c.coded(codes.name, shape, codes.out_bits)
        params |= {"affine": array(f"{codes.name}.affine")} | clamp(codes.out_bits)
        c.made.add(codes.name)
    else:
        out = c.add(op.name, shape, "float32")
    columns = (c.shapes[gate][-1], c.shapes[value][-1], op.gate_at, op.value_at, op.width)
    sizes = tokens.GateShape(c.rows(gate), *columns, BITS[out.dtype])
    return [Launch(f"gate_{sizes.key}", _builder(tokens.build_gate, sizes), {"g": gate, "x": value}, params, ("out", out))]


def lower_attention_pool(op: q.QAttentionPool, c: CudaContext) -> list[Launch]:
    """Attention of constant queries."""
    source, (_, queries, _) = op.inputs[0], c.tensors[f"{op.name}.query"].shape
    if op.head_dim % HEAD_STEP or op.head_dim > LARGEST_POOLED:
        what = f"there is no CUDA kernel for pooling heads of {op.head_dim} channels"
        raise UnsupportedError(what, where=op.name, hint="compile for the board's :cpu")
    shape, half = PoolShape(c.batch, c.shapes[source][0], op.heads, queries, op.head_dim), op.bits == FLOAT_BITS
    out = c.coded(op.name, (queries, op.heads * op.head_dim), op.out_bits)
    bits = BITS[out.dtype]
    params = {letter: array(f"{op.name}.{letter}") for letter in ("SMB" if half else "SPMB")}
    params |= {"query": array(f"{op.name}.query")} | clamp(op.out_bits)

    def build(name: str) -> CudaKernel:
        return build_pool(shape, half=half, out_bits=bits, name=name)

    name = f"pool{'_f16' if half else ''}_{shape.key}_o{bits}"
    return [Launch(name, build, {"kv": source}, params, ("out", out))]


def lower_take_token(op: q.QTakeToken, c: CudaContext) -> list[Launch]:
    """One token of each image."""
    count, channels = c.shapes[op.inputs[0]]
    out = c.add(op.name, (channels,), "float32")
    name = f"take_b{c.batch}_t{count}_c{channels}_i{op.index}"
    build = _builder(tokens.build_take, c.batch, count, op.index % count, channels)
    return [Launch(name, build, {"x": op.inputs[0]}, {}, ("out", out))]


def lower_mean_tokens(op: q.QMeanTokens, c: CudaContext) -> list[Launch]:
    """Mean over an image's tokens."""
    count, channels = c.shapes[op.inputs[0]]
    out = c.add(op.name, (channels,), "float32")
    name = f"mean_b{c.batch}_t{count}_c{channels}_s{op.start}"
    build = _builder(tokens.build_mean, c.batch, count, op.start, channels)
    return [Launch(name, build, {"x": op.inputs[0]}, {"inv": array(f"{op.name}.inv")}, ("out", out))]


def lower_sum(op: q.QAdd | q.QAverageHeads, c: CudaContext) -> list[Launch]:
    """Sum of two values, halved for two classifiers."""
    a, b = op.inputs
    rows, channels, half = c.rows(a), c.shapes[a][-1], isinstance(op, q.QAverageHeads)
    out = c.add(op.name, c.shapes[a], "float32")
    name = f"{'average' if half else 'add'}_r{rows}_c{channels}"
    return [Launch(name, _builder(tokens.build_sum, rows, channels, half), {"a": a, "b": b}, {}, ("out", out))]


def lower_to_codes(op: q.QToCodes, c: CudaContext) -> list[Launch]:
    """Codes of a float value."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.shapes[source][-1]
    out = c.coded(op.name, c.shapes[source], op.out_bits)
    bits, params = BITS[out.dtype], {"affine": array(f"{op.name}.affine")} | clamp(op.out_bits)
    build = _builder(tokens.build_to_codes, rows, channels, bits)
    return [Launch(f"codes_r{rows}_c{channels}_o{bits}", build, {"x": source}, params, ("out", out))]


def _builder(build: Callable[..., CudaKernel], *args: Any) -> Callable[[str], CudaKernel]:
    return lambda name: build(*args, name=name)
