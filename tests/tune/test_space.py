from dataclasses import astuple

import numpy as np
import pytest
import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from lampq_tvm.kernels.attention import AttentionShape
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import AttentionKernel, Kernel, LayerNormKernel, ProductKernel
from lampq_tvm.tune.propose import Sensible, computation, context, sampled, tiles_of
from lampq_tvm.tune.space import space_of
from tests.tune.kernels import SMALL, levels, run_all, target


def kernel(index: int, isa: str) -> Kernel:
    """Kernels of every kind with edges of every kind."""
    products = [SMALL, ProductShape(18, 48, 40, "table"), ProductShape(18, 33, 70, "residual")]
    products.append(ProductShape(5, 24, 16, "float"))
    if index < len(products):
        return ProductKernel(products[index], isa, (8, 4, 6, 3)[index], (8, 4, 6, 3)[index])
    others = [
        AttentionKernel(AttentionShape(2, 21, 2, 35), isa, 8),
        AttentionKernel(AttentionShape(4, 18, 1, 32, 2), isa, 4),
        LayerNormKernel(19, 100, 1e-6, True, isa),
        LayerNormKernel(5, 67, 1e-5, False, isa),
    ]
    return others[index - len(products)]


KERNELS = range(8)


def sample(kernel: Kernel) -> list:
    """Candidates before any measurement."""
    space = context(space_of(kernel), tvm.target.Target(target(kernel.isa).tvm), seed=1)
    space.pre_tuning(6, 6, database=ms.database.MemoryDatabase(), cost_model=ms.cost_model.RandomModel())
    return space.generate_measure_candidates() or []


@pytest.mark.parametrize("index", KERNELS)
def test_every_candidate_builds_and_is_exact(index):
    isa = levels()[index % len(levels())]
    one = kernel(index, isa)
    space, tiles = space_of(one), [tiles_of(candidate.sch) for candidate in sample(one)]
    assert len(set(tiles)) == len(tiles) > 1
    assert all(one.takes(t) and space.registers(t.rows, t.vectors) <= space.budget + space.spare for t in tiles)
    for expected, got in run_all([(one, t) for t in tiles], isa):
        assert np.array_equal(expected, got)


@pytest.mark.parametrize("isa", LEVELS)
def test_the_default_schedule_lies_in_the_space(isa):
    found = [ProductKernel(ProductShape(rows, 192, 192, "codes"), isa, 8, 8) for rows in (1, 50, 197)]
    found += [AttentionKernel(AttentionShape(2, tokens, 3, 64), isa, bits) for tokens in (1, 50, 197) for bits in (4, 8)]
    found += [LayerNormKernel(rows, 192, 1e-6, True, isa) for rows in (1, 197)]
    for one in found:
        space = space_of(one)
        sch = Schedule(computation(space))
        sampled(sch, space, one.default)
        assert tiles_of(sch) == one.default
        assert space.sensible(one.default)
        assert one.takes(one.default)


@pytest.mark.parametrize("index", KERNELS)
def test_sizes_beyond_the_largest_are_refused(index):
    one = kernel(index, "avx2")
    most = one.largest
    assert one.takes(most)
    for i in range(3):
        sizes = list(astuple(most))
        sizes[i] += 1
        assert not one.takes(Tiles(*sizes))
        sizes[i] = 0
        assert not one.takes(Tiles(*sizes))


def test_candidates_that_are_not_worth_a_trial_are_dropped():
    one = ProductKernel(ProductShape(64, 96, 64, "codes"), "avx2", 8, 8)
    space, candidates = space_of(one), sample(one)
    assert candidates
    assert all(Sensible(space).apply(candidate.sch) for candidate in candidates)
    sch = Schedule(computation(space))
    spilling = Tiles(12, 6, 1, 1)
    sampled(sch, space, spilling)
    assert tiles_of(sch) == spilling
    assert not Sensible(space).apply(sch)
