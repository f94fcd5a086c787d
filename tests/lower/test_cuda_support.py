"""What has no CUDA kernel is refused from the imported model, by name; what has is left alone."""

import dataclasses

import numpy as np
import pytest

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.lower.cuda.support import check_cuda_attention, check_cuda_model
from lampq_tvm.network.model import Attention, AttentionPool
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QAttention, QAttentionPool
from lampq_tvm.runtime.params import kernel_params
from tests.compiler.networks import FAMILIES, calibration, network, quantized


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_lowered(family):
    check_cuda_model(network(family), "h200@cuda13", None)
    check_cuda_attention(network(family), "sm_53", half=False)
    assert lower_cuda(quantized(family, "8/8"), "sm_90").launches


def narrow(op, head_dim: int):
    return dataclasses.replace(op, head_dim=head_dim) if hasattr(op, "head_dim") else op


@pytest.mark.parametrize("family", ["vit", "swinv2", "siglip", "eva02"])
def test_odd_heads_are_refused_before_and_by_the_lowering_alike(family):
    model, qm = network(family), quantized(family, "8/8")
    odd = dataclasses.replace(model, ops=tuple(narrow(op, 10) for op in model.ops))
    with pytest.raises(UnsupportedError, match=r"no CUDA kernel for .*heads of 10 .*compile for jetson-agx-thor:cpu"):
        check_cuda_model(odd, "jetson-agx-thor@jp7", "jetson-agx-thor:cpu")
    with pytest.raises(UnsupportedError, match="heads of 10 channels"):
        lower_cuda(dataclasses.replace(qm, ops=tuple(narrow(op, 10) for op in qm.ops)), "sm_110")


def test_large_pooling_heads_are_refused_from_the_imported_model():
    model = network("siglip")
    large = [dataclasses.replace(op, head_dim=260) if isinstance(op, AttentionPool) else op for op in model.ops]
    with pytest.raises(UnsupportedError, match="pooling heads of 260 channels"):
        check_cuda_model(dataclasses.replace(model, ops=tuple(large)), "a100", None)
    qm = quantized("siglip", "8/8")
    large = [dataclasses.replace(op, head_dim=260) if isinstance(op, QAttentionPool) else op for op in qm.ops]
    with pytest.raises(UnsupportedError, match="pooling heads of 260 channels"):
        lower_cuda(dataclasses.replace(qm, ops=tuple(large)), "sm_87")


@pytest.mark.parametrize("family", ["swin", "swinv2", "beit"])
@pytest.mark.parametrize("arch", ["sm_53", "sm_72", "sm_75", "sm_110"])
def test_float16_scores_take_a_bias(family, arch):
    """Every launch of an attention reads its bias in float32, a number of pattern for each group of windows."""
    check_cuda_attention(network(family), arch, half=True)
    qm = quantize(calibration(family), uniform_plan(network(family), 16, 16, 16))
    found = [launch for launch in lower_cuda(qm, arch).launches if launch.kernel.startswith("attention_f16")]
    attentions = [op for op in qm.ops if isinstance(op, QAttention)]
    for op, launch in zip(attentions, found, strict=True):
        bias, pattern = kernel_params([launch.params["bias"], launch.params["pattern"]], qm.tensors)
        assert bias.dtype == np.float32 and bias.any() and len(pattern) == op.groups and pattern.max() == len(bias) - 1


@pytest.mark.parametrize("family", ["one block", "eva02 sub-LN"])
def test_attention_over_too_many_tokens_is_refused_from_the_imported_model(family):
    """1370 tokens, as DINOv2 has them at 518 pixels, where codes are meant; float16 passes some tokens at a time."""
    model = network(family)
    side = 37 * model.ops[0].patch
    large = dataclasses.replace(model, input=dataclasses.replace(model.input, height=side, width=side))
    assert large.shapes[model.ops[0].name][0] == 1370
    with pytest.raises(UnsupportedError, match="attention over 1370 tokens needs"):
        check_cuda_attention(large, "sm_75", half=False)
    check_cuda_attention(large, "sm_75", half=True)
    check_cuda_attention(model, "sm_75", half=False)


def test_attention_in_windows_has_the_tokens_of_a_window():
    """Fifty times as many windows of the same size fit as well as few do."""
    model = network("swin")
    indices = {name: np.tile(t, (50, 1, 1)) for name, t in model.tensors.items() if name.endswith(".index") and t.ndim == 3}
    large = dataclasses.replace(model, tensors={**model.tensors, **indices})
    attention = next(op.name for op in model.ops if isinstance(op, Attention))
    assert large.shapes[attention] == (50 * model.shapes[attention][0], *model.shapes[attention][1:])
    check_cuda_attention(large, "sm_53", half=False)
