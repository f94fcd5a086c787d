"""LayerNorm to codes and to float against the oracle, in the fixed order of sums."""

from __future__ import annotations

import functools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.layernorm import build_layernorm
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.oracle import ops
from tests.examples import examples
from tests.kernels import data
from tests.kernels.machine import Case

BATCHES = examples(2)
ROW_KINDS = 8


def stream(rng: np.random.Generator, rows: int, channels: int) -> np.ndarray:
    """Rows [rows, channels] f32 of eight kinds, from subnormal to overflowing squares, and some without variance."""
    plain = rng.normal(0, 1, (rows, channels))
    outliers = plain * np.where(rng.random((rows, channels)) < 0.03, 300, 1)
    constant = np.broadcast_to(rng.normal(0, 5, (rows, 1)), plain.shape)
    kinds = (plain * 3, outliers, plain + 1000, constant, np.zeros_like(plain), plain * 1e-41, plain * 1e15, plain * 1e25)
    assert len(kinds) == ROW_KINDS
    kind = (np.arange(rows) + rng.integers(ROW_KINDS))[:, None] % ROW_KINDS
    return np.select([kind == i for i in range(ROW_KINDS)], kinds).astype(np.float32)


def layernorm_case(
    isa: str,
    rows: int,
    channels: int,
    eps: float,
    bits: int | None,
    centred: bool,
    seed: int,
    tiles: Tiles | None = None,
) -> Case:
    """The case; `bits` None gives float. Where c * r is zero, B alone decides: some of it are ties."""
    rng = np.random.default_rng(seed)
    x = stream(rng, rows, channels)
    G = (rng.normal(0, 1, channels) * (1 << (bits - 2) if bits else 1)).astype(np.float32)
    B = np.where(rng.random(channels) < 0.5, rng.integers(-9, 9, channels) + 0.5, rng.normal(0, 2, channels)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = ops.layer_norm_float(x, G, B, eps, centred)
        expected = ops.layer_norm_codes(x, G, B, eps, bits, centred) if bits else expected
    build = functools.partial(build_layernorm, rows, channels, eps, bits is not None, isa, tiles, centred=centred)
    name = f"LayerNorm rows={rows} channels={channels} eps={eps} bits={bits} centred={centred} seed={seed}"
    kernel = f"layernorm_{rows}_{channels}_{eps}_{bits is not None}_{centred}_{tiles}"
    return Case(name, kernel, build, (x, G, B, data.code_range(bits or 8)), expected)


layernorms = st.tuples(
    st.one_of(st.sampled_from(data.EDGES), st.integers(1, 70)),
    st.one_of(st.sampled_from((1, 2, 31, 32, 33, 63, 64, 65, 192, 384, 769)), st.integers(1, 200)),
    st.sampled_from((1e-6, 1e-5, 1e-12, 0.1)),
    st.none() | st.integers(2, 8),
    st.booleans(),
    st.integers(0, 1 << 20),
)


@BATCHES
@given(batch=st.lists(layernorms, min_size=10, max_size=10))
def test_any_layernorm(machine, batch):
    machine.check(layernorm_case(machine.isa, *drawn) for drawn in batch)


def test_the_usual_sizes(machine):
    """Many rows of the widths that Vision Transformers have."""
    sizes = [(197, c, bits) for c in (192, 384) for bits in (4, 8, None)]
    machine.check(layernorm_case(machine.isa, rows, channels, 1e-6, bits, True, channels) for rows, channels, bits in sizes)


def test_other_sizes(machine):
    """Rows side by side that leave rows over, blocks written out that leave blocks and channels over."""
    sizes = (Tiles(2, 1), Tiles(3, 1, unroll=2), Tiles(5, 1, unroll=4), Tiles(7, 1, unroll=8))
    shapes = ((7, 192), (19, 167), (8, 31))
    machine.check(
        layernorm_case(machine.isa, rows, channels, 1e-6, (8, None)[(i + j) % 2], True, 1, tiles)
        for i, (rows, channels) in enumerate(shapes)
        for j, tiles in enumerate(sizes)
    )


def test_the_order_of_sums_matters():
    """Another order of the same sums gives another float32 on this data, so equality above is about the order too."""
    x = np.random.default_rng(0).normal(3, 1, (64, 192)).astype(np.float32)
    plain = x - x.mean(-1, keepdims=True)
    plain *= 1 / np.sqrt((plain * plain).mean(-1, keepdims=True) + np.float32(1e-6))
    assert (plain != ops.normalized(x, 1e-6)).any()
