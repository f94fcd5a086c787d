"""Lengths, rotary embedding, constant queries and gates against the oracle."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from lampq_tvm.kernels import heads
from lampq_tvm.kernels.gate import build_gate
from lampq_tvm.kernels.rotary import build_rotary
from lampq_tvm.kernels.unit_heads import build_unit_heads
from lampq_tvm.oracle import ops
from tests.kernels import data
from tests.kernels.machine import Case

SIZES = [(1, 1, 1, 2), (3, 17, 2, 16), (2, 49, 3, 32), (1, 9, 2, 34), (1, 5, 1, 88)]  # batch, tokens, heads, head_dim


def case(name: str, build, args: tuple[np.ndarray, ...], expected: np.ndarray, *sizes: object) -> Case:
    key = f"{name} {sizes}"
    return Case(key, key, functools.partial(build, *sizes), args, expected)


def qkv_values(rng: np.random.Generator, batch: int, tokens: int, count: int, head_dim: int) -> np.ndarray:
    """Floats of mixed sizes; a head of zeros, whose length is the smallest allowed."""
    x = rng.normal(size=(batch, tokens, 3, count, head_dim)) * 10.0 ** rng.integers(-2, 3, (batch, tokens, 1, count, 1))
    x[0, 0, 0, 0] = 0
    return x.reshape(batch, tokens, -1).astype(np.float32)


@pytest.mark.parametrize("bits", [4, 8])
def test_heads_over_their_lengths(machine, bits):
    rng, cases = np.random.default_rng(bits), []
    for batch, tokens, count, head_dim in SIZES:
        x = qkv_values(rng, batch, tokens, count, head_dim)
        inv = rng.uniform(0.5, 200, (3, count)).astype(np.float32)
        expected = ops.unit_heads(x, inv, count, 1e-12, bits).reshape(batch * tokens, -1)
        args = (x.reshape(batch * tokens, -1), inv, data.code_range(bits))
        cases.append(case("unit", build_unit_heads, args, expected, batch * tokens, count, head_dim, 1e-12, machine.isa))
    machine.check(cases)


@pytest.mark.parametrize("bits", [4, 8])
def test_rotary(machine, bits):
    rng, cases = np.random.default_rng(bits), []
    for batch, tokens, count, head_dim in SIZES:
        x = qkv_values(rng, batch, tokens, count, head_dim)
        angle = rng.uniform(-4, 4, (tokens, head_dim))
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        inv = rng.uniform(0.5, 200, (3, count)).astype(np.float32)
        args = (x.reshape(batch * tokens, -1), cos, sin, inv, data.code_range(bits))
        channel = np.arange(head_dim)
        for partner in (channel ^ 1, np.roll(channel, head_dim // 2), rng.permutation(head_dim)):
            expected = ops.rotary(x, cos, sin, partner.astype(np.int32), inv, bits).reshape(batch * tokens, -1)
            sizes = (batch * tokens, tokens, count, tuple(partner.tolist()), machine.isa)
            cases.append(case("rotary", build_rotary, args, expected, *sizes))
    machine.check(cases)


@pytest.mark.parametrize("bits", [4, 8])
def test_attention_of_constant_queries(machine, bits):
    rng, cases = np.random.default_rng(bits), []
    for batch, tokens, count, head_dim in SIZES:
        for queries in (1, 3):
            channels = count * head_dim
            kv = data.codes(rng, batch * tokens, 2 * channels, bits)
            query = data.codes(rng, count * queries, head_dim, bits).reshape(count, queries, head_dim)
            S = (255 / (head_dim * 4.0 ** (bits - 1)) * rng.uniform(0.5, 3, count)).astype(np.float32)
            P = np.sort(rng.integers(0, 256, 256).astype(np.uint8))[::-1].copy()
            P[0], P[255] = 255, 0
            M, B = rng.uniform(0.3, 1.5, channels).astype(np.float32), (rng.integers(-6, 7, channels) / 2).astype(np.float32)
            expected = ops.attention_pool(kv.reshape(batch, tokens, -1), query, S, P, M, B, 8).reshape(batch * queries, -1)
            args, sizes = (kv, query, S, P, M, B, data.code_range(8)), (batch, tokens, count, queries, head_dim)
            cases.append(case("pool", heads.build_attention_pool, args, expected, *sizes, machine.isa))
    machine.check(cases)


def test_gates(machine):
    """Columns of one value and of two; codes on ties, and far outside; one to some blocks of look-ups."""
    rng, cases = np.random.default_rng(0), []
    table = rng.normal(size=256).astype(np.float32)
    every = [(1, 1, 1, 0, 0, 1), (7, 66, 66, 0, 33, 33), (5, 32, 40, 0, 8, 32), (3, 40, 37, 2, 0, 37)]
    every += [(3, 302, 151, 151, 0, 151)]
    for rows, gates, values, gate_at, value_at, width in every:
        g = (rng.integers(-600, 600, (rows, gates)) / 2).astype(np.float32)
        g[rng.random(g.shape) < 0.1] = 1e30
        x = rng.normal(size=(rows, values)).astype(np.float32)
        expected = ops.gate(g[:, gate_at : gate_at + width], x[:, value_at : value_at + width], table)
        sizes = (rows, gates, values, gate_at, value_at, width, machine.isa)
        gated = case("gate", build_gate, (g, x, table), expected, *sizes)
        over = next((i for i, columns in enumerate((gates, values)) if columns == width), None)
        cases.append(dataclasses.replace(gated, over=over))
    machine.check(cases)
