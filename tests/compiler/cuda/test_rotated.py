"""Rotated networks, whose norms are RMSNorms, on GPUs: what is stored is the reference's, on interpreted PTX."""

from __future__ import annotations

import pytest

from lampq_tvm.compiler.cuda.build import build_cuda
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.targets import resolve_target
from tests.compiler.cuda.test_network import runner
from tests.compiler.networks import images
from tests.compiler.test_rotated import qm as rotated_network

qm = rotated_network


@pytest.mark.parametrize("target", ["jetson-agx-orin-64gb", "jetson-agx-thor"])
def test_gpu_equals_reference(target, qm):
    pixels = images("vit", 1)
    wanted = run_reference(qm, pixels, values=True)
    with runner(build_cuda(qm, resolve_target(target))) as gpu:
        found = gpu.trace(pixels)
    for value, array in found.items():
        assert array.dtype == wanted[value].dtype and array.tobytes() == wanted[value].tobytes(), value
