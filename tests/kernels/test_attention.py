"""Attention against the integer oracle."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.attention import AttentionShape, bias_shape, build_attention, factors
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import AttentionKernel
from lampq_tvm.oracle import ops
from lampq_tvm.quantizers.probabilities import probabilities, softmax_table
from tests.examples import examples
from tests.kernels import data
from tests.kernels.machine import Case

BATCHES = examples(2)
TABLES = ("uniform", "log_sqrt2", "random", "only the maximum")


@dataclass(frozen=True)
class Attention:
    """An attention to test: the softmax table's kind, and the size of the score's steps."""

    shape: AttentionShape
    bits: int = 8
    out_bits: int = 8
    table: str = "uniform"
    step: float = 1.0
    seed: int = 0
    tiles: Tiles | None = None


def score_bias(shape: AttentionShape, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Bias [groups, heads, T, T] int32 of the size of the scores, its ends, and masked places; no row is masked whole."""
    bias = rng.integers(-int(spread) - 1, int(spread) + 1, (shape.groups, shape.heads, shape.tokens, shape.tokens))
    bias[rng.random(bias.shape) < 0.02] = rng.choice([-(1 << 28), 1 << 28])
    bias[(rng.random(bias.shape) < 0.3) & ~np.eye(shape.tokens, dtype=bool)] = -(1 << 30)
    return bias.astype(np.int32)


def softmax(kind: str, bits: int, rng: np.random.Generator) -> np.ndarray:
    """P [256] with P[0] = 255 and P[255] = 0."""
    if kind in ("uniform", "log_sqrt2"):
        return softmax_table(probabilities(kind, bits)[0])
    table = rng.integers(0, 256, 256).astype(np.uint8) if kind == "random" else np.zeros(256, np.uint8)
    table[0], table[255] = 255, 0
    return table


def attention_case(attention: Attention, isa: str) -> Case:
    """The case; scores span a few tables, so that some differences are cut off, and every other S makes exact ties."""
    shape, bits, rng = attention.shape, attention.bits, np.random.default_rng(attention.seed)
    channels = shape.heads * shape.head_dim
    qkv = data.codes(rng, shape.batch * shape.tokens, 3 * channels, bits)
    qkv[:, 2 * channels :] = data.codes(rng, channels, shape.batch * shape.tokens, bits).T
    spread = shape.head_dim * 4.0 ** (bits - 1)
    S = (attention.step * 255 / spread * rng.uniform(0.5, 3, shape.heads)).astype(np.float32)
    S[::2] = 0.5 * 2.0 ** -rng.integers(0, 2 + int(np.log2(spread)), len(S[::2]))
    M = ((1 << (attention.out_bits - 1)) / (1 << (bits - 1)) * rng.uniform(0.3, 1.5, channels)).astype(np.float32)
    M[rng.random(channels) < 0.1] = 1e30
    B = (rng.integers(-6, 7, channels) / 2).astype(np.float32)
    P = softmax(attention.table, bits, rng)
    bias = score_bias(shape, spread, rng) if shape.groups else None
    expected = ops.attention(
        qkv.reshape(shape.batch, shape.tokens, -1), S, P, M, B, shape.heads, shape.head_dim, attention.out_bits, bias
    )
    padded = np.zeros(bias_shape(shape, isa, bits), np.int32)
    if bias is not None:
        padded = np.full_like(padded, 0x55555555)
        padded[:, :, : shape.tokens, : shape.tokens] = bias
    sizes = attention.tiles.key if attention.tiles else "default"
    name = "_".join([shape.key, sizes, *(factor.dot.name for factor in factors(shape, isa, bits))])
    build = functools.partial(build_attention, shape, isa, bits, attention.tiles)
    args = (qkv, S, P, M, B, data.code_range(attention.out_bits), padded)
    return Case(str(attention), name, build, args, expected.reshape(len(qkv), channels))


@st.composite
def attentions(draw: st.DrawFn) -> Attention:
    """Any attention."""
    tokens = draw(st.one_of(st.sampled_from(data.EDGES), st.integers(1, 70)))
    head_dim = draw(st.one_of(st.sampled_from((1, 2, 3, 16, 31, 32, 64, 65)), st.integers(1, 70)))
    windows, groups = draw(st.sampled_from([(1, 0), (2, 0), (1, 1), (2, 1), (4, 2), (6, 3)]))
    shape = AttentionShape(windows, tokens, draw(st.integers(1, 3)), head_dim, groups)
    bits, out_bits = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    step = draw(st.sampled_from((0.1, 1.0, 10.0)))
    return Attention(shape, bits, out_bits, draw(st.sampled_from(TABLES)), step, draw(st.integers(0, 1 << 20)))


@BATCHES
@given(batch=st.lists(attentions(), min_size=8, max_size=8))
def test_any_attention(machine, batch):
    machine.check(attention_case(attention, machine.isa) for attention in batch)


def test_every_width_and_table(machine):
    shape = AttentionShape(2, 21, 2, 35)
    machine.check(
        attention_case(Attention(shape, bits, out_bits, table, seed=bits), machine.isa)
        for bits in range(2, 9)
        for out_bits in (2, 8)
        for table in TABLES
    )


@pytest.mark.parametrize("level", ["lowest", "highest"])
def test_all_scores_equal(machine, level):
    """Every token equal: p is 255 everywhere, the largest sums that p and v can give."""
    cases = []
    for bits in (2, 4, 8):
        shape = AttentionShape(1, 197, 1, 64)
        case = attention_case(Attention(shape, bits, bits), machine.isa)
        code = -(1 << (bits - 1)) if level == "lowest" else (1 << (bits - 1)) - 1
        qkv, (_, S, P, _, _, bounds, bias) = np.full_like(case.args[0], code), case.args
        M, B = np.ones(64, np.float32), np.zeros(64, np.float32)
        expected = np.full((197, 64), code, np.int8)
        cases.append(Case(f"{level} {bits}", case.kernel, case.build, (qkv, S, P, M, B, bounds, bias), expected))
    machine.check(cases)


def test_other_sizes(machine):
    """Tiles that leave rows and columns over, and more vectors than the values have."""
    shape = AttentionShape(2, 49, 2, 35, 1)
    sizes = (Tiles(1, 1), Tiles(3, 2, unroll=3), Tiles(5, 4), Tiles(7, 1, unroll=16), Tiles(12, 3, unroll=2))
    widths = [(4, 8)[i % 2] for i in range(len(sizes))]
    cut = [data.cut(AttentionKernel(shape, machine.isa, bits), tiles) for bits, tiles in zip(widths, sizes, strict=True)]
    machine.check(attention_case(Attention(shape, bits, tiles=t), machine.isa) for bits, t in zip(widths, cut, strict=True))


def test_many_tokens(machine):
    """A row of scores of a DINOv2 at its own image size, 518 pixels."""
    machine.check([attention_case(Attention(AttentionShape(1, 1370, 1, 5), 8), machine.isa)])


def test_each_window_adds_its_own_bias(machine):
    """A width of 7 x 7 tokens, masked places among them, and as many groups as windows, fewer, or one."""
    shapes = [AttentionShape(windows, 49, 3, 32, groups) for windows, groups in ((8, 4), (4, 4), (3, 1))]
    machine.check(attention_case(Attention(s, bits, seed=bits), machine.isa) for s in shapes for bits in (4, 8))


def test_cases_meet_ties_and_cuts():
    """The data is worth its time: indices hit ties and the table's end, and several table entries."""
    case = attention_case(Attention(AttentionShape(1, 65, 2, 33), 4), "vnni")
    qkv, S = case.args[0].reshape(65, 3, 2, 33).transpose(1, 2, 0, 3), case.args[1]
    acc = ops.product_acc(qkv[0], qkv[1])
    steps = (acc.max(-1, keepdims=True) - acc).astype(np.float32) * S[:, None, None]
    assert (steps > 255.5).any() and len(np.unique(np.rint(steps[steps < 255]))) > 50
    assert (steps % 1 == 0.5).any()
