"""Pixels, patches, prefix tokens, pooling and codes of floats against the oracle."""

from __future__ import annotations

import functools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.elementwise import build_average, build_to_codes
from lampq_tvm.kernels.image import build_patches, build_pixels
from lampq_tvm.kernels.moves import build_prepend, build_take_token
from lampq_tvm.kernels.pooling import build_mean_tokens
from lampq_tvm.oracle import ops
from tests.examples import examples
from tests.kernels import data
from tests.kernels.machine import Case

BATCHES = examples(2)
few = st.integers(1, 4)
small = st.one_of(st.sampled_from((1, 2, 17, 50, 65)), st.integers(1, 40))
seeds = st.integers(0, 1 << 20)


def case(name: str, build, args: tuple[np.ndarray, ...], expected: np.ndarray, *sizes: object) -> Case:
    """A case whose kernel is `build` of `sizes`."""
    key = f"{name} {sizes}"
    return Case(key, key, functools.partial(build, *sizes), args, expected)


def pixels(batch: int, channels: int, height: int, width: int, seed: int, isa: str) -> Case:
    """Images normalized from pixels, a tie between two pixels here and there, and values far outside."""
    rng = np.random.default_rng(seed)
    mean, std = rng.uniform(0.3, 0.6, channels), rng.uniform(0.2, 0.6, channels)
    p = rng.integers(0, 256, (batch, channels, height, width))
    halves = p + rng.choice([0, 0.5, -0.5, 3e7, -1e12], p.shape, p=[0.6, 0.15, 0.15, 0.05, 0.05])
    x = ((halves / 255 - mean[:, None, None]) / std[:, None, None]).astype(np.float32)
    args = x, (255 * std).astype(np.float32), (255 * mean).astype(np.float32)
    expected = ops.pixels_from_float(x, mean.tolist(), std.tolist())
    return case("pixels", build_pixels, args, expected, batch, channels, height, width, isa)


def patches(batch: int, channels: int, down: int, across: int, patch: int, seed: int, isa: str) -> Case:
    image = np.random.default_rng(seed).integers(0, 256, (batch, channels, down * patch, across * patch)).astype(np.uint8)
    expected = ops.patches(ops.pixel_codes(image), patch).reshape(batch * down * across, -1)
    return case("patches", build_patches, (image,), expected, *image.shape, patch, isa)


def prepend(batch: int, prefix: int, count: int, channels: int, seed: int, isa: str) -> Case:
    rng = np.random.default_rng(seed)
    x, rows = (rng.normal(size=(n, channels)).astype(np.float32) for n in (batch * count, prefix))
    both = [np.concatenate([rows, image]) for image in x.reshape(batch, count, channels)]
    return case("prepend", build_prepend, (x, rows), np.concatenate(both), batch, prefix, count, channels, isa)


def take_token(batch: int, count: int, channels: int, index: int, seed: int, isa: str) -> Case:
    x = np.random.default_rng(seed).normal(size=(batch, count, channels)).astype(np.float32)
    args, index = (x.reshape(-1, channels),), index % count
    return case("take_token", build_take_token, args, ops.take_token(x, index), batch, count, channels, index, isa)


def mean_tokens(batch: int, count: int, channels: int, start: int, seed: int, isa: str) -> Case:
    """Tokens of mixed sizes, so that the order of the sum shows."""
    rng, start = np.random.default_rng(seed), start % count
    x = (rng.normal(size=(batch, count, channels)) * 10.0 ** rng.integers(-3, 4, (batch, count, 1))).astype(np.float32)
    inv = np.array([1 / (count - start)], np.float32)
    args, expected = (x.reshape(-1, channels), inv), ops.mean_tokens(x, start, inv)
    return case("mean_tokens", build_mean_tokens, args, expected, batch, count, channels, start, isa)


def to_codes(rows: int, channels: int, bits: int, seed: int, isa: str) -> Case:
    """Values on ties, beside them, and far outside what int32 holds."""
    rng = np.random.default_rng(seed)
    affine = np.array([rng.choice([1.0, 0.25, 3.7, 0.0131]), rng.integers(-(1 << (bits - 1)), 1 << (bits - 1))], np.float32)
    ties = (rng.integers(-200, 200, (rows, channels)) + 0.5 - affine[1]) / affine[0]
    x = np.where(rng.random(ties.shape) < 0.1, rng.choice([1e30, -1e30, 3e9, -3e9, 1e-42], ties.shape), ties).astype(np.float32)
    args = x, affine, data.code_range(bits)
    return case("to_codes", build_to_codes, args, ops.to_codes(x, affine, bits), rows, channels, isa)


def average(rows: int, channels: int, seed: int, isa: str) -> Case:
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(rows, channels)).astype(np.float32) * np.float32(scale) for scale in (1, 1e-40))
    return case("average", build_average, (a, b), ops.average_heads(a, b), rows, channels, isa)


kinds = st.one_of(
    st.builds(functools.partial, st.just(pixels), few, few, small, small, seeds),
    st.builds(functools.partial, st.just(patches), few, few, few, few, st.sampled_from((1, 2, 7, 16)), seeds),
    st.builds(functools.partial, st.just(prepend), few, st.integers(1, 5), small, small, seeds),
    st.builds(functools.partial, st.just(take_token), few, small, small, small, seeds),
    st.builds(functools.partial, st.just(mean_tokens), few, small, small, small, seeds),
    st.builds(functools.partial, st.just(to_codes), small, small, st.integers(2, 8), seeds),
    st.builds(functools.partial, st.just(average), small, small, seeds),
)


@BATCHES
@given(batch=st.lists(kinds, min_size=28, max_size=28))
def test_any_token_kernel(machine, batch):
    machine.check(make(isa=machine.isa) for make in batch)


def test_each_token_kernel(machine):
    """Every kernel at one element, and at odd sizes; patches of which a register holds part, one, or some."""
    every = {
        pixels: [(1, 1, 1, 1, 0), (2, 3, 17, 13, 1), (1, 2, 3, 83, 2)],
        patches: [(1, 1, 1, 1, 1, 0), *((2, 3, 2, 5, patch, patch) for patch in (2, 4, 7, 14, 16, 32, 81))],
        prepend: [(1, 1, 1, 1, 0), (3, 5, 49, 33, 1)],
        take_token: [(1, 1, 1, 0, 0), (3, 197, 17, 196, 1)],
        mean_tokens: [(1, 1, 1, 0, 0), (3, 197, 17, 1, 1), (2, 5, 65, 4, 2), (1, 9, 333, 0, 3)],
        to_codes: [(1, 1, 8, 0), *((50, 65, bits, bits) for bits in range(2, 9)), (2, 333, 8, 9)],
        average: [(1, 1, 0), (3, 1000, 1)],
    }
    machine.check(make(*sizes, isa=machine.isa) for make, each in every.items() for sizes in each)
