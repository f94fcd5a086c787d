"""Quantizers with tables, which only tests know, on GPUs: what is stored is the reference's, on interpreted PTX."""

from __future__ import annotations

import pytest

from lampq_tvm.compiler.cuda.build import build_cuda
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.targets import resolve_target
from tests.compiler.cuda.test_network import runner
from tests.compiler.networks import images
from tests.compiler.test_tabled import FAMILIES, QUANTIZERS, WEIGHTS, tabled

CASES = [("jetson-agx-orin-64gb", family) for family in FAMILIES]
CASES += [("jetson-agx-thor", "vit"), ("jetson-agx-xavier", "vit")]


@pytest.mark.parametrize(("target", "family"), CASES)
@pytest.mark.parametrize("name", QUANTIZERS)
def test_gpu_equals_reference(target, name, family):
    qm, pixels = tabled(family, name), images(family, 1)
    wanted = run_reference(qm, pixels, values=True)
    with runner(build_cuda(qm, resolve_target(target))) as gpu:
        found = gpu.trace(pixels)
        assert gpu(pixels).tobytes() == wanted[qm.output].tobytes()
    for value, array in found.items():
        assert array.dtype == wanted[value].dtype and array.tobytes() == wanted[value].tobytes(), value
    tables = sum(op.encode is not None and op.encode.table is not None for op in qm.ops if hasattr(op, "encode"))
    assert tables > 5 or name in WEIGHTS
