"""What lowering makes of a network: one kernel per distinct call, one parameter per distinct constant."""

from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.lower.module import lower
from lampq_tvm.network.model import Op
from lampq_tvm.quantize.build import quantize
from tests.boards import ISAS
from tests.quantize.tiny import tiny_calibration


@pytest.fixture(scope="module")
def network():
    calibration = tiny_calibration()
    return quantize(calibration, uniform_plan(calibration.model, 4, 4))


def functions(lowered) -> set[str]:
    return {variable.name_hint for variable in lowered.module.functions}


@pytest.mark.parametrize("isa", ISAS)
def test_blocks_share_their_kernels(network, isa):
    """Two blocks of the same shapes: every call of a block has one kernel with the other block's."""
    lowered = lower(network, isa)
    kernels = {call.value: call.kernel for call in lowered.calls}
    pairs = [(name, name.replace("blocks.0", "blocks.1")) for name in kernels if name.startswith("blocks.0")]
    assert len(pairs) >= 6
    assert all(kernels[first] == kernels[second] for first, second in pairs)
    assert functions(lowered) == set(kernels.values()) | {"main", "trace", "pixels", "pixels_from_float"}


def test_threads_that_lower_at_once(network):
    """TVM keeps the builders of all threads in one stack: each thread gets its own module whole."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            lowered = list(pool.map(lambda batch: lower(network, "vnni", batch), range(1, 9)))
    finally:
        sys.setswitchinterval(before)
    assert [made.values[-1].shape[0] for made in lowered] == list(range(1, 9))
    assert len({len(functions(made)) for made in lowered}) == 1


def test_equal_constants_are_one_parameter(network):
    """The code range of 4 bits is read by many kernels and passed once."""
    recipes = lower(network, "vnni").recipes
    ranges = [r for r in recipes if r["from"] == "values" and r["values"] == [-8, 7]]
    assert len(ranges) == 1
    assert len({str(r) for r in recipes}) == len(recipes)


@pytest.mark.parametrize(("isa", "corrected"), [("vnni", True), ("avx2", True), ("dotprod", False), ("neon", False)])
def test_only_shifted_operands_need_corrections(network, isa, corrected):
    assert any(r["from"] == "correction" for r in lower(network, isa).recipes) == corrected


def test_every_operator_is_traced_with_its_shape(network):
    values = lower(network, "vnni", 3).values
    assert [value.name for value in values] == [op.name for op in network.ops]
    by_name = {value.name: value for value in values}
    assert all(value.shape[0] == 3 for value in values)
    assert (by_name["patch"].shape, by_name["patch"].dtype) == ((3, 10, 40), "float32")
    assert (by_name["blocks.0.attn"].shape, by_name["blocks.0.attn"].dtype) == ((3, 10, 40), "int8")
    assert (by_name[network.output].shape, by_name[network.output].dtype) == ((3, 7), "float32")


def where_it_fits(tiles, kernel):
    return tiles if kernel.takes(tiles) else None


def test_other_tiles_are_other_kernels(network):
    """Records of different tile sizes for one shape must not share a name."""
    first, second = (functions(lower(network, "vnni", tiles=partial(where_it_fits, t))) for t in (Tiles(2, 1), Tiles(3, 1)))
    assert first != second


def test_an_operator_without_kernel_is_refused_by_name(network):
    @dataclass(frozen=True)
    class QRotary(Op):
        pass

    broken = dataclasses.replace(network, ops=(*network.ops, QRotary("blocks.0.rope", (network.output,))))
    with pytest.raises(UnsupportedError) as refused:
        lower(broken, "vnni")
    assert "blocks.0.rope" in str(refused.value) and "QRotary" in str(refused.value)
