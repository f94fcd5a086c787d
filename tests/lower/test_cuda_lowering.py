"""What lowering for a GPU fuses and refuses, by shapes alone."""

from __future__ import annotations

import pytest

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.quantize import model as q
from tests.lower.networks import Network, one_block


def test_attention_that_fits_no_block_is_refused_with_what_would_fit():
    """1370 tokens of 64 channels, as DINOv2 has them at 518 pixels."""
    qm = one_block(128, 37, 2)
    with pytest.raises(UnsupportedError, match=r"attention over 1370 tokens needs \d+ bytes .* of sm_87 has 166912.*16 bits"):
        lower_cuda(qm, "sm_87")
    assert lower_cuda(one_block(128, 37, 2, bits=16), "sm_87").launches


@pytest.mark.parametrize(("side", "bits", "passes"), [(14, 8, 2), (24, 8, 3), (24, 16, 2)])
def test_multiplications_of_attention_count_scores_as_often_as_they_are_made(side, bits, passes):
    """Four warps hold the scores of 197 tokens; those of 577 are made twice, but in float16."""
    launches = lower_cuda(one_block(128, side, 2, bits), "sm_87").launches
    (macs,) = (launch.macs for launch in launches if "attention" in launch.kernel)
    assert macs == passes * 2 * (side * side + 1) ** 2 * 64


@pytest.mark.parametrize("own", [True, False])
def test_a_product_onto_its_own_stream_leaves_the_norm_to_a_kernel(own):
    """x + Linear(LayerNorm(x)) in place: a block that made the LayerNorm would read rows that others write over."""
    made = Network(4, 3)
    x = made.embed(1, 64, 1)
    stream = x if own else made.add(q.QAdd("other", (x, x)))
    end = made.product("residual", 64, 64, made.norm(x), stream)
    last = lower_cuda(made.ended(end), "sm_87").launches[-1]
    assert last.over == stream and set(last.reads) == ({"A"} if own else {"stream"})
