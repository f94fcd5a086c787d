"""Kernels share their work out evenly, at the price of few instructions: each task is counted on an emulated core."""

import pytest
import tvm

from lampq_tvm.device.native import count_classes
from lampq_tvm.kernels.attention import AttentionShape, build_attention
from lampq_tvm.kernels.product import build_product
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.latency.bench import arguments
from tests.boards import target_of

THREADS = 12
# Most of the largest share times the threads, and most instructions beside those of one thread.
CASES = {
    "codes": (lambda isa: build_product(ProductShape(197, 576, 192, "codes"), isa, 8, 8), 1.06, 1.01),
    "table": (lambda isa: build_product(ProductShape(197, 768, 192, "table"), isa, 8, 8), 1.06, 1.01),
    "residual": (lambda isa: build_product(ProductShape(197, 192, 768, "residual"), isa, 8, 8), 1.06, 1.02),
    "attention": (lambda isa: build_attention(AttentionShape(1, 197, 3, 64), isa, 8), 1.2, 1.01),
}


@pytest.mark.parametrize("name", CASES)
def test_twelve_threads_share_the_work(name):
    build, balance, more = CASES[name]
    function, target = build("dotprod"), target_of("dotprod")
    one, many = (count_classes(function, arguments(function)[:-1], target, threads=count).tasks for count in (1, THREADS))
    alone, together = sum(map(sum, one)), sum(map(sum, many))
    assert alone <= together <= more * alone
    assert sum(map(max, many)) * THREADS <= balance * together


@pytest.mark.parametrize("isa", ["neon", "dotprod", "vnni"])
def test_threads_share_no_buffer_that_they_write(isa):
    """What stands before the region of all threads is theirs together: there, only attention's packed factors may be."""
    product = build_product(ProductShape(21, 40, 24, "table"), isa, 8, 8)
    attention = build_attention(AttentionShape(1, 21, 1, 16), isa, 8)
    for function, shared in ((product, 0), (attention, 4)):
        module = tvm.IRModule({"kernel": function.with_attr("global_symbol", "kernel")})
        compiled = tvm.compile(module, target=target_of(isa).tvm)
        text = compiled.mod.inspect_source("ll")
        before = text[text.index("@kernel_compute_(") : text.index("@__tvm_parallel_lambda(")].split("\ndefine")[0]
        found = [line for line in before.splitlines() if " alloca " in line and "%closure" not in line]
        assert len(found) + before.count("ptr @__TVMBackendAllocWorkspace,") <= shared
