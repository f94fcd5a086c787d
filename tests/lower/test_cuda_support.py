"""What has no CUDA kernel is refused from the imported model, by name; what has is left alone."""

import dataclasses

import pytest

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.lower.cuda.support import check_cuda_attention, check_cuda_model
from tests.build.networks import FAMILIES, network, quantized

VITS = ("vit", "one block", "deit distilled", "deit3", "dinov2", "average pool")


@pytest.mark.parametrize("family", FAMILIES)
def test_refused_before_and_by_the_lowering_alike(family):
    if family in VITS:
        check_cuda_model(network(family), "h200@cuda13", None)
        assert lower_cuda(quantized(family, "8/8"), "sm_90").launches
        return
    with pytest.raises(UnsupportedError, match=r"no CUDA kernel for .*compile for jetson-agx-thor:cpu"):
        check_cuda_model(network(family), "jetson-agx-thor@jp7", "jetson-agx-thor:cpu")
    with pytest.raises(UnsupportedError):
        lower_cuda(quantized(family, "8/8"), "sm_110")


def test_attention_over_too_many_tokens_is_refused_from_the_imported_model():
    """1370 tokens, as DINOv2 has them at 518 pixels, where codes are meant; float16 passes some tokens at a time."""
    model = network("one block")
    rows = [dataclasses.replace(layer, macs=1370 * layer.params) for layer in model.layers]
    large = dataclasses.replace(model, layers=tuple(rows))
    with pytest.raises(UnsupportedError, match="attention over 1370 tokens needs"):
        check_cuda_attention(large, "sm_75", half=False)
    check_cuda_attention(large, "sm_75", half=True)
    check_cuda_attention(model, "sm_75", half=False)
