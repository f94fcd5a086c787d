"""What a kernel's text promises the compiler about its buffers."""

from __future__ import annotations

import pytest

from lampq_tvm.compiler.cuda.text import cuda_text
from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.product import build_product
from lampq_tvm.kernels.shapes import ProductShape


@pytest.mark.parametrize(("epilogue", "promised"), [("residual", False), ("float", True), ("codes", True)])
def test_nothing_is_promised_of_what_another_kernel_may_still_write(epilogue, promised):
    """A residual product reads the stream that it adds to."""
    text = cuda_text(build_product(ProductShape(20, 40, 32, epilogue), mma_for(8, 8, "sm_90")).func, "sm_90").text
    assert "* __restrict__ W_ptr" in text and "__restrict__ A_ptr" not in text
    assert ("* __restrict__ out_ptr" in text) is promised
