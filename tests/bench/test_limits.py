"""Limits are below what is counted, and are what the instruction set's manual says."""

from collections import Counter

import pytest

from bench.speed.limits import Used, multiplies, near, near_macs
from lampq_tvm.device.native import count_kernel
from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.tunable import AttentionKernel, AttentionShape, ProductKernel
from lampq_tvm.latency.bench import arguments
from lampq_tvm.targets import resolve_target
from tests.kernels.machine import assembly

MACS = {("dotprod", 8, 8): 16, ("i8mm", 8, 8): 32, ("neon", 8, 8): 16 / 3, ("neon", 4, 8): 256 / 34, ("neon", 4, 4): 32 / 3}


@pytest.mark.parametrize(("isa", "w_bits", "a_bits"), MACS)
def test_multiply_adds_of_an_instruction(isa, w_bits, a_bits):
    assert multiplies(dot_for(isa, w_bits, a_bits), 10**6) == pytest.approx(10**6 / MACS[isa, w_bits, a_bits])


def test_a_kernel_takes_more_than_its_multiply_adds_and_their_loads():
    kernel = ProductKernel(ProductShape(20, 48, 384, "codes"), "neon", 8, 8)
    used, tiles = Used("one", 1, kernel, kernel.build()), kernel.default
    ((dot, macs),) = used.work
    figure = count_kernel(used.function, arguments(used.function)[:-1], resolve_target("raspberry-pi-4"))[1]
    loop = multiplies(dot, macs) * dot.instructions(tiles.rows, tiles.vectors) / dot.multiplies(tiles.rows, tiles.vectors)
    assert multiplies(dot, macs) < loop < figure < 2 * loop


def test_work_of_attention_is_that_of_both_products():
    kernel = AttentionKernel(AttentionShape(1, 197, 6, 64), "neon", 8)
    assert Counter(macs for _, macs in Used("one", 1, kernel, kernel.build()).work) == {197 * 197 * 6 * 64: 2}


def test_a_tile_in_the_nearest_cache_multiplies_over_and_over():
    dot = dot_for("dotprod", 8, 8)
    assert near_macs(dot, 6, 1) % (6 * dot.lanes * dot.group) == 0
    assert "sdot" in assembly(near(dot, 6, 1), "dotprod")
