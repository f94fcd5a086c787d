import numpy as np
import pytest
import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

from lampq_tvm.kernels.product import ProductShape, round_up
from lampq_tvm.kernels.product_schedule import ACCUMULATORS, build_product
from lampq_tvm.tune.space import SPILL, Kernel, Sensible, context, padded_counts, sensible, tiles_of
from tests.tune.kernels import SMALL, levels, run_all, target

SHAPES = [SMALL, ProductShape(18, 48, 40, "table"), ProductShape(18, 33, 70, "residual"), ProductShape(5, 24, 16, "float")]


def sample(kernel: Kernel, rows: int) -> list:
    """Candidates of a space before any measurement."""
    space = context(kernel, rows, tvm.target.Target(target(kernel.isa).tvm), seed=1)
    space.pre_tuning(3, 3, database=ms.database.MemoryDatabase(), cost_model=ms.cost_model.RandomModel())
    return space.generate_measure_candidates() or []


@pytest.mark.parametrize(("shape", "bits"), list(zip(SHAPES, (8, 4, 6, 3), strict=True)))
def test_every_candidate_builds_and_is_exact(shape, bits):
    isa = levels()[bits % len(levels())]
    kernel = Kernel(shape, isa, bits, bits)
    built = []
    for rows in padded_counts(kernel)[:2]:
        for candidate in sample(kernel, rows):
            tiles = tiles_of(candidate.sch)
            shipped = build_product(shape, isa, bits, bits, tiles).with_attr("global_symbol", "main")
            # What the search looks at is the very kernel that a record of its tiles builds.
            tvm.ir.assert_structural_equal(_normalize_mod(shipped)["main"], candidate.sch.mod["main"])
            assert round_up(shape.rows, tiles.rows * tiles.group) == rows
            assert tiles.rows * tiles.vectors <= ACCUMULATORS[isa] + SPILL
            built.append((kernel, tiles))
    assert len({tiles for _, tiles in built}) == len(built) > 1
    for expected, got in run_all(built, isa):
        assert np.array_equal(expected, got)


def test_the_default_schedule_lies_in_the_first_space():
    for isa in ("vnni", "avx2", "dotprod", "neon"):
        for rows in (1, 5, 50, 197):
            kernel = Kernel(ProductShape(rows, 192, 192, "codes"), isa, 8, 8)
            first = padded_counts(kernel)[0]
            assert first == round_up(rows, kernel.default.rows)
            assert sensible(kernel.default, kernel, first)


def test_candidates_that_are_not_worth_a_trial_are_dropped():
    kernel = Kernel(ProductShape(64, 96, 64, "codes"), "avx2", 8, 8)
    spilling = sample(kernel, 64)
    assert spilling
    assert all(Sensible(kernel, 64).apply(candidate.sch) for candidate in spilling)
    assert not any(Sensible(kernel, 65).apply(candidate.sch) for candidate in spilling)
