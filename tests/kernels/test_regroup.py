"""Tokens in another order, and sums of streams, against the oracle."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from lampq_tvm.kernels.elementwise import build_add
from lampq_tvm.kernels.moves import build_regroup
from lampq_tvm.oracle import ops
from tests.kernels.machine import Case


def regroup_case(isa: str, batch: int, rows: int, shape: tuple[int, ...], channels: int, dtype: str, seed: int) -> Case:
    """Tokens in random order, some twice, some missing, some empty."""
    rng = np.random.default_rng(seed)
    index = rng.integers(-1, rows, shape).astype(np.int32)
    x = rng.integers(-128, 128, (batch, rows, channels)).astype(dtype)
    fill = rng.integers(-128, 128, 1).astype(dtype)
    expected = ops.regroup(x, index, fill, rows)
    parts, taken = shape[-1], int(np.prod(shape[:-1]))
    name = f"regroup {batch} {rows} {shape} {channels} {dtype}"
    build = functools.partial(build_regroup, batch, rows, taken, parts, channels, dtype, isa)
    args = (x.reshape(-1, channels), index.reshape(taken, parts), fill)
    return Case(name, name, build, args, expected.reshape(batch * taken, -1))


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_any_order(machine, dtype):
    """One token, windows of 7 x 7, patches merged four by four, odd channels."""
    sizes = [(1, 1, (1, 1), 1), (2, 196, (4, 49, 1), 33), (3, 64, (16, 4), 24), (2, 5, (3, 7, 2), 65), (1, 50, (70, 1), 96)]
    machine.check(regroup_case(machine.isa, *size, dtype, seed) for seed, size in enumerate(sizes))


def test_sums(machine):
    rng, cases = np.random.default_rng(0), []
    for rows, channels in ((1, 1), (7, 33), (196, 96)):
        a, b = (rng.normal(size=(rows, channels)).astype(np.float32) * np.float32(s) for s in (1e3, 1e-3))
        name = f"add {rows} {channels}"
        build = functools.partial(build_add, rows, channels, machine.isa)
        cases.append(Case(name, name, build, (a, b), ops.add(a, b), 0))
    machine.check(cases)
