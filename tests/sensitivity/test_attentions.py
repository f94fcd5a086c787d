"""Attentions at few bits in the float model: as near to the integer network as its layers are, and worse with fewer bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lampq_tvm.allocate.attention import allocate_attention, attention_macs
from lampq_tvm.calibrate.fake import quantized_attention
from lampq_tvm.errors import InfeasibleError
from lampq_tvm.network.model import Attends
from lampq_tvm.oracle import ops
from lampq_tvm.quantizers.probabilities import NATS, STEPS, softmax_table
from lampq_tvm.sensitivity.attentions import attention_losses
from lampq_tvm.sensitivity.table import Sensitivity
from tests.quantize.tiny import tiny_calibration, tiny_model


@pytest.mark.parametrize("kind", ["uniform", "log2"])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_the_float_form_is_what_the_integer_operator_does(bits, kind):
    """On values that codes stand for, the oracle's attention gives the same to half a step of its output."""
    calibration = tiny_calibration("token")
    (name, *_) = (op.name for op in calibration.model.ops if isinstance(op, Attends))
    op, scale = calibration.model.op(name), calibration.attention[name][bits].scale
    half = 1 << (bits - 1)
    codes = np.random.default_rng(0).integers(-half, half, (2, 10, 3 * op.heads * op.head_dim)).astype(np.int8)
    values = codes * np.repeat(scale.reshape(-1), op.head_dim)
    found = quantized_attention(calibration, name, bits, kind)(op, (torch.from_numpy(values.astype(np.float32)),)).numpy()
    step = scale[2].max() * half / 127
    S = (scale[0] * scale[1] * op.scale * STEPS / NATS).astype(np.float32)
    M = np.repeat(scale[2] / step, op.head_dim).astype(np.float32)
    table = softmax_table(calibration.probability(name, kind, bits))
    expected = ops.attention(codes, S, table, M, np.zeros_like(M), op.heads, op.head_dim, 8) * step
    assert np.abs(found - expected).max() <= 0.51 * step


def test_losses_fall_with_the_bits(calibrated, batches, units):
    kinds = {
        b: dict.fromkeys([op.name for op in calibrated.model.ops if isinstance(op, Attends)], "uniform") for b in (2, 4, 8)
    }
    found = attention_losses(calibrated, batches, softmax=kinds, units=units)
    diagonal = found.loss[:, range(3), range(3)]
    assert (diagonal[:, 0] > diagonal[:, 1]).all() and (diagonal[:, 1] > diagonal[:, 2]).all()
    assert np.isinf(found.loss[:, 0, 1]).all()


def table(losses):
    loss = np.full((len(losses), 3, 3), np.inf)
    loss[:, range(3), range(3)] = losses
    names = tuple(op.name for op in tiny_model().ops if isinstance(op, Attends))
    return Sensitivity("kl", True, names, (2, 4, 8), loss)


def test_bits_go_where_they_are_worth_most():
    model = tiny_model()
    one, two = (op.name for op in model.ops if isinstance(op, Attends))
    assert attention_macs(model, one) == 2 * 10 * 10 * 40
    dear, cheap = [9.0, 3.0, 1.0], [0.9, 0.3, 0.1]
    assert allocate_attention(model, table([dear, cheap]), 6) == {one: 8, two: 4}
    assert allocate_attention(model, table([cheap, dear]), 5) == {one: 2, two: 8}
    assert allocate_attention(model, table([dear, cheap]), 8) == {one: 8, two: 8}
    with pytest.raises(InfeasibleError, match="give 2 or more"):
        allocate_attention(model, table([dear, cheap]), 1.5)
