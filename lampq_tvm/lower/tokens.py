"""Lowering of what happens to tokens and heads around the products: windows, constant queries, lengths, rotation, gates."""

from __future__ import annotations

import zlib

import numpy as np

from lampq_tvm.kernels import heads
from lampq_tvm.kernels.elementwise import build_add
from lampq_tvm.kernels.gate import build_gate
from lampq_tvm.kernels.moves import build_regroup
from lampq_tvm.kernels.rotary import build_rotary
from lampq_tvm.kernels.unit_heads import build_unit_heads
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.quantize import model as q


def lower_regroup(op: q.QRegroup, c: Context) -> list[Call]:
    """Tokens in another order."""
    source, index = op.inputs[0], c.tensors[f"{op.name}.index"]
    channels, parts, taken = c.channels(source), index.shape[-1], int(np.prod(index.shape[:-1]))
    dtype = str(c.tensors[f"{op.name}.fill"].dtype)
    c.shapes[op.name] = (*index.shape[:-1], parts * channels)
    arguments = Arguments().value(source)
    stored = {"from": "array", "tensor": f"{op.name}.index", "shape": [taken, parts], "dtype": "int32"}
    arguments.recipe(**stored).arrays(f"{op.name}.fill")
    sizes = (c.batch, op.rows, taken, parts, channels, dtype)
    name = "regroup_" + "_".join(map(str, sizes))
    return [arguments.call(name, lambda: build_regroup(*sizes, c.isa), op.name, (c.batch * taken, parts * channels), dtype)]


def lower_add(op: q.QAdd, c: Context) -> list[Call]:
    """Stream and normalized branch."""
    a, b = op.inputs
    rows, channels = c.rows(a), c.channels(a)
    c.shapes[op.name] = c.shapes[a]
    arguments, name = Arguments().value(a).value(b), f"add_r{rows}_c{channels}"
    return [arguments.call(name, lambda: build_add(rows, channels, c.isa), op.name, (rows, channels), "float32", a)]


def lower_attention_pool(op: q.QAttentionPool, c: Context) -> list[Call]:
    """Attention of constant queries."""
    source, queries = op.inputs[0], c.tensors[f"{op.name}.query"].shape[1]
    channels = op.heads * op.head_dim
    sizes = (c.batch, c.shapes[source][0], op.heads, queries, op.head_dim)
    c.shapes[op.name] = (queries, channels)
    arguments = Arguments().value(source).arrays(*(f"{op.name}.{field}" for field in ("query", "S", "P", "M", "B")))
    arguments.code_range(op.out_bits)
    name = "attention_pool_" + "_".join(map(str, sizes))
    shape = (c.batch * queries, channels)
    return [arguments.call(name, lambda: heads.build_attention_pool(*sizes), op.name, shape, "int8")]


def lower_unit_heads(op: q.QUnitHeads, c: Context) -> list[Call]:
    """q and k over their lengths, to codes."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.channels(source)
    c.shapes[op.name] = c.shapes[source]
    arguments = Arguments().value(source).arrays(f"{op.name}.inv").code_range(op.out_bits)
    name = f"unit_heads_r{rows}_h{op.heads}_d{op.head_dim}_e{op.eps!r}".replace("-", "m").replace(".", "p")
    return [
        arguments.call(
            name, lambda: build_unit_heads(rows, op.heads, op.head_dim, op.eps, c.isa), op.name, (rows, channels), "int8"
        )
    ]


def lower_rotary(op: q.QRotary, c: Context) -> list[Call]:
    """q and k turned, to codes."""
    source, count = op.inputs[0], len(c.tensors[f"{op.name}.cos"])
    rows, channels = c.rows(source), c.channels(source)
    c.shapes[op.name] = c.shapes[source]
    arguments = Arguments().value(source).arrays(*(f"{op.name}.{field}" for field in ("cos", "sin", "inv")))
    arguments.code_range(op.out_bits)
    partner = tuple(c.tensors[f"{op.name}.partner"].tolist())
    name = f"rotary_r{rows}_t{count}_h{op.heads}_d{op.head_dim}_p{zlib.crc32(repr(partner).encode()):08x}"
    return [
        arguments.call(name, lambda: build_rotary(rows, count, op.heads, partner, c.isa), op.name, (rows, channels), "int8")
    ]


def lower_gate(op: q.QGate, c: Context) -> list[Call]:
    """Activation of some columns times others."""
    gate, value = op.inputs
    sizes = (c.rows(gate), c.channels(gate), c.channels(value), op.gate_at, op.value_at, op.width)
    c.shapes[op.name] = (*c.shapes[gate][:-1], op.width)
    arguments = Arguments().value(gate).value(value).arrays(f"{op.name}.table")
    name, shape = "gate_" + "_".join(map(str, sizes)), (sizes[0], op.width)
    over = next((operand for operand in (value, gate) if c.channels(operand) == op.width), None)
    return [arguments.call(name, lambda: build_gate(*sizes, c.isa), op.name, shape, "float32", over)]
