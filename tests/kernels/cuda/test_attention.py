"""Fused attention on tensor cores against the integer oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.cuda.attention import build_attention
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape
from lampq_tvm.kernels.cuda.levels import attention_mma
from lampq_tvm.kinds import of_width
from lampq_tvm.oracle import ops
from tests.examples import examples
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_rows, run, unpack_rows
from tests.kernels.test_attention import TABLES, softmax

ARCHS = ("sm_72", "sm_75", "sm_87", "sm_90")
FEW = examples(25)


def biased(shape: CudaAttentionShape, every: np.ndarray, rng, masked: float = 0.1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(bias [images, heads, T, T] of every window, the kernel's buffers) from one of every pattern [patterns, heads, T, T].

    A share of it is made masks, never the last token's; what lies beyond the tokens of a row would hide all of them.
    """
    every = np.where(rng.random(every.shape) < masked, every.dtype.type(-(1 << 30)), every)
    every[..., -1] = 0
    pattern = rng.integers(0, shape.patterns, shape.groups).astype(np.int32)
    held = np.pad(every.reshape(-1, shape.tokens), ((0, 0), (0, -shape.tokens % 32)), constant_values=1 << 30)
    return every[pattern[np.arange(shape.images) % shape.groups]], {"bias": held, "pattern": pattern}


def check(shape: CudaAttentionShape, arch: str, bits: int, out_bits: int, packed: bool, table: str, seed: int = 0) -> None:
    """The kernel's codes equal the oracle's; scores span a few tables and every other S makes exact ties."""
    rng, rows, channels = np.random.default_rng(seed), shape.images * shape.tokens, shape.heads * shape.head_dim
    qkv = data.codes(rng, rows, 3 * channels, bits)
    spread = shape.head_dim * 4.0 ** (bits - 1)
    S = (255 / spread * rng.uniform(0.5, 3, shape.heads)).astype(np.float32)
    S[::2] = 0.5 * 2.0 ** -rng.integers(0, 2 + int(np.log2(spread)), len(S[::2]))
    P = softmax(table, bits, rng)
    M = (rng.uniform(0.5, 2, channels) * 2.0 ** (out_bits - bits)).astype(np.float32)
    B = rng.normal(0, 3, channels).astype(np.float32)
    whole, bias, buffers = qkv.reshape(shape.images, shape.tokens, -1), None, {}
    if shape.groups:
        size = (shape.patterns, shape.heads, shape.tokens, shape.tokens)
        bias, buffers = biased(shape, rng.integers(-int(spread), int(spread), size).astype(np.int32), rng)
    wanted = ops.attention(whole, S, P, M, B, shape.heads, shape.head_dim, out_bits, bias).reshape(rows, channels)
    width = 4 if packed else 8
    kernel = build_attention(shape, attention_mma(arch), out=of_width(width))
    buffers |= {"qkv": pack_rows(qkv, 8), "S": S, "P": P, "M": M, "B": B, "range": data.code_range(out_bits)}
    found = unpack_rows(run(kernel, arch, buffers, np.zeros_like(pack_rows(wanted, width))), channels, width)
    assert found.tobytes() == wanted.tobytes(), f"{int((found != wanted).sum())} of {wanted.size} differ"


BIASED = [(6, 49, 2, 32, 4, 1, 3, 2), (2, 197, 1, 64, 1, 4, 1, 1), (5, 16, 3, 12, 1, 1, 4, 3)]


def one_arch_whole(cases):
    """Every case on the architecture of most boards, and one of them on each other."""
    return [("sm_87", case) for case in cases] + [(a, c) for a, c in zip(("sm_72", "sm_75", "sm_90"), cases, strict=True)]


@FEW
@given(
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 70), st.integers(1, 3), st.sampled_from((4, 8, 12, 16, 32, 40, 64, 72))),
    arch=st.sampled_from(ARCHS),
    bits=st.integers(2, 8),
    out_bits=st.integers(2, 8),
    warps=st.sampled_from(((1, 1), (2, 1), (4, 1), (1, 4), (2, 2), (1, 3))),
    table=st.sampled_from(TABLES),
    seed=st.integers(0, 99),
)
def test_any_attention(sizes, arch, bits, out_bits, warps, table, seed):
    check(CudaAttentionShape(*sizes, *warps), arch, bits, out_bits, out_bits <= 4, table, seed)


@pytest.mark.parametrize(("arch", "sizes"), one_arch_whole(BIASED))
def test_bias_of_the_scores(arch, sizes):
    """Windows of an image take turns with their patterns; what lies beyond the tokens of a row of biases is not taken."""
    for out_bits in (8, 4):
        check(CudaAttentionShape(*sizes), arch, 8, out_bits, out_bits == 4, "uniform", out_bits)


@pytest.mark.parametrize(("arch", "warps"), one_arch_whole([(4, 1), (1, 4), (4, 2)]))
def test_attention_of_deit(arch, warps):
    check(CudaAttentionShape(1, 197, 3, 64, *warps), arch, 8, 8, False, "uniform")


def test_tokens_around_a_step():
    for tokens in (31, 32, 33, 63, 64, 65):
        check(CudaAttentionShape(1, tokens, 1, 32), "sm_87", 8, 8, False, "log_sqrt2", tokens)
