"""Artifacts with float parts: integer operators are equal bit for bit and parts close, each on the artifact's own inputs."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from lampq_tvm.artifact.container import Artifact
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.lower.cuda.support import check_cuda_model
from lampq_tvm.oracle.run import run_oracle
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.compare import CLOSE, differences, part_errors
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.operators.float_part import QFloatPart
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.runtime.runner import Runner
from tests.boards import BOARDS, board_session, runs_here, target_of
from tests.compiler.networks import artifact
from tests.parts.hybrids import HYBRIDS, calibrated, hybrid, pixels

ISA = next(isa for isa in ("vbmi", "vnni", "avx2", "dotprod", "neon") if runs_here(isa))


@functools.cache
def quantized(name: str, bits: int = 8) -> QuantizedModel:
    return quantize(calibrated(name), uniform_plan(hybrid(name), bits, bits))


@functools.cache
def compiled(name: str, isa: str = ISA, batch: int = 1) -> Artifact:
    return artifact(quantized(name), target_of(isa), batch)


@pytest.mark.parametrize("name", HYBRIDS)
@pytest.mark.parametrize("batch", [1, 3])
def test_this_machine(name, batch):
    qm, images = quantized(name), pixels(3)
    runner = Runner(compiled(name, batch=batch), threads=2)
    values = runner.trace(images)
    assert list(differences(qm, images, values)) == []
    assert len(list(part_errors(qm, images, values))) == sum(isinstance(op, QFloatPart) for op in qm.ops) >= 1
    assert np.array_equal(runner(images), values[qm.output])


@pytest.mark.parametrize("isa", ["avx2", "vnni", "vbmi"])
def test_every_level_here(isa):
    if not runs_here(isa):
        pytest.skip(f"this CPU has no {isa}")
    runner = Runner(compiled("Convolved", isa))
    assert list(differences(quantized("Convolved"), pixels(2), runner.trace(pixels(2)))) == []


@pytest.mark.parametrize("isa", BOARDS)
def test_boards(isa):
    board_session(isa).close()  # skips where there is no board
    for name in ("Convolved", "TalkingHeads", "WindowsOfProducts"):
        runner = Runner(compiled(name, isa), "emulated")
        assert list(differences(quantized(name), pixels(2), runner.trace(pixels(2)))) == []


@pytest.mark.parametrize("name", HYBRIDS)
def test_oracle_and_reference(name):
    """Parts are close to those computed in float64; what comes before the first one is equal."""
    qm, images = quantized(name), pixels(2)
    ours, theirs = run_oracle(qm, images), run_reference(qm, images, values=True)
    assert np.array_equal(ours["image.normalized"], theirs["image.normalized"])
    assert list(differences(qm, images, theirs)) == []
    assert max(error for _, error in part_errors(qm, images, ours)) < CLOSE


def test_a_difference_is_found():
    qm, images = quantized("Hybrid"), pixels(1)
    values = Runner(compiled("Hybrid")).trace(images)
    part = next(op.name for op in qm.ops if isinstance(op, QFloatPart))
    off = {**values, part: values[part] + 2 * CLOSE * np.abs(values[part]).max()}
    assert any(line.startswith(f"{part} (conv2d") for line in differences(qm, images, off))
    head = {**values, qm.output: values[qm.output] + np.float32(1e-6)}
    assert list(differences(qm, images, head)) == [f"5 of 5 values of {qm.output} differ"]


def test_the_payload_holds_what_kernels_read():
    """Convolutions with the norm in their weights, once; nothing of the norm besides."""
    from safetensors.numpy import load

    stored = load(compiled("Hybrid").sections["payload.safetensors"])
    parts = {op.name for op in quantized("Hybrid").ops if isinstance(op, QFloatPart)}
    kept = {k: v for k, v in stored.items() if k.rpartition(".")[0] in parts}
    assert sum(v.size for v in kept.values()) == 16 * 27 + 16 + 16 * 64 + 16


def test_no_gpu_yet():
    with pytest.raises(UnsupportedError, match=r"no CUDA kernel for a part that stays float \(conv2d"):
        check_cuda_model(hybrid("Hybrid"), "jetson", "jetson:cpu")
    with pytest.raises(UnsupportedError, match="no CUDA kernels yet"):
        lower_cuda(quantized("Hybrid"), "sm_87")


def test_nothing_is_not_close_to_zeros():
    """NaN where all should be zero is a difference."""
    qm, images = quantized("Hybrid"), pixels(1)
    part = next(op for op in qm.ops if isinstance(op, QFloatPart))
    zeros = {name: np.zeros_like(v) if name.startswith(f"{part.name}.") else v for name, v in qm.tensors.items()}
    silent = dataclasses.replace(qm, tensors=zeros)
    values = run_reference(silent, images, values=True)
    assert not values[part.name].any()
    errors = dict(part_errors(silent, images, {**values, part.name: np.full_like(values[part.name], np.nan)}))
    assert not errors[part.name] <= CLOSE
