import numpy as np
import pytest
import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.tune.space import SPILL, Kernel, Sensible, computation, context, sampled, sensible, tiles_of
from tests.tune.kernels import SMALL, levels, run_all, target

SHAPES = [SMALL, ProductShape(18, 48, 40, "table"), ProductShape(18, 33, 70, "residual"), ProductShape(5, 24, 16, "float")]


def sample(kernel: Kernel) -> list:
    """Candidates before any measurement."""
    space = context(kernel, tvm.target.Target(target(kernel.isa).tvm), seed=1)
    space.pre_tuning(6, 6, database=ms.database.MemoryDatabase(), cost_model=ms.cost_model.RandomModel())
    return space.generate_measure_candidates() or []


@pytest.mark.parametrize(("shape", "bits"), list(zip(SHAPES, (8, 4, 6, 3), strict=True)))
def test_every_candidate_builds_and_is_exact(shape, bits):
    isa = levels()[bits % len(levels())]
    kernel = Kernel(shape, isa, bits, bits)
    tiles = [tiles_of(candidate.sch) for candidate in sample(kernel)]
    assert len(set(tiles)) == len(tiles) > 1
    assert all(kernel.dot.slots(t.rows, t.vectors) <= kernel.dot.accumulators + SPILL for t in tiles)
    for expected, got in run_all([(kernel, t) for t in tiles], isa):
        assert np.array_equal(expected, got)


def test_the_default_schedule_lies_in_the_space():
    for isa in LEVELS:
        for rows in (1, 5, 50, 197):
            kernel = Kernel(ProductShape(rows, 192, 192, "codes"), isa, 8, 8)
            sch = Schedule(computation(kernel))
            sampled(sch, kernel, kernel.default)
            assert tiles_of(sch) == kernel.default
            assert sensible(kernel.default, kernel)


def test_candidates_that_are_not_worth_a_trial_are_dropped():
    kernel = Kernel(ProductShape(64, 96, 64, "codes"), "avx2", 8, 8)
    candidates = sample(kernel)
    assert candidates
    assert all(Sensible(kernel).apply(candidate.sch) for candidate in candidates)
    sch = Schedule(computation(kernel))
    spilling = kernel.default.__class__(12, 6, 1, 1)
    sampled(sch, kernel, spilling)
    assert tiles_of(sch) == spilling
    assert not Sensible(kernel).apply(sch)
