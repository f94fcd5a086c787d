"""The float baseline's kernels: as many multiply-adds as the model has, each distinct kernel once."""

import numpy as np
import pytest

from lampq_tvm.latency.floats import float_work
from lampq_tvm.network.model import Attention, AttentionPool
from tests.compiler.networks import calibration

FAMILIES = ("vit", "swin", "beit", "eva02", "siglip")


def macs(function):
    """Multiply-adds of a product's kernel, padding included, and without it those of its name."""
    count, rows, n, k = (int(x) for x in function.name.split("_")[2].split("x"))
    return count * rows * n * k


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 2])
def test_every_multiply_add_is_there(family, batch):
    model = calibration(family).model
    work = float_work(model, "dotprod", batch)
    products = [kernel for kernel in work if kernel.name.startswith("float_product")]
    layers = sum(macs(kernel) * kernel.count for kernel in products if kernel.name.endswith("_shared"))
    assert layers == batch * sum(layer.macs for layer in model.layers)
    heads = sum(macs(kernel) * kernel.count for kernel in products if not kernel.name.endswith("_shared"))
    expected = 0
    for op in model.ops:
        if isinstance(op, Attention | AttentionPool):
            given, made = model.shapes[op.inputs[0]], model.shapes[op.name]
            expected += 2 * batch * int(np.prod(made[:-1])) * given[-2] * op.heads * op.head_dim
    assert heads == expected > 0
    assert len({kernel.name for kernel in work}) == len(work)
