"""Whole networks for GPUs, run by the executor on the PTX interpreter: every value and the output are the reference's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lampq_tvm.artifact.container import Artifact
from lampq_tvm.compiler.cuda.build import CudaBuild, buckets, build_cuda
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.network.model import Op
from lampq_tvm.ptx.driver import PtxDriver
from lampq_tvm.quantize.model import QFloatNorm, QGate, QLayerNorm, QProduct, QRegroup, QRotary, QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.records.cuda import CudaRecord, CudaRecords
from lampq_tvm.runtime.runner import Runner
from lampq_tvm.targets import resolve_target
from tests.compiler import networks
from tests.compiler.networks import images, quantized

TARGETS = (
    "jetson-agx-orin-64gb@jp5",
    "jetson-agx-orin-64gb@jp6",
    "jetson-agx-thor",
    "a100",
    "h200",
    "rtx-40",
    "jetson-agx-xavier",
)
FAMILIES = [family for family in networks.FAMILIES if family != "one block"]


def runner(made: CudaBuild) -> Runner:
    """The executor on the interpreter."""
    artifact = Artifact(made.manifest, made.sections, 0)
    return Runner(artifact, gpu=PtxDriver(made.ptx, made.manifest["cuda"]["arch"]))


def assert_equal_bits(family: str, plan: str, made: CudaBuild, count: int) -> None:
    """Every stored value and the output of `count` images."""
    qm, pixels = quantized(family, plan), images(family, count)
    wanted = run_reference(qm, pixels, values=True)
    with runner(made) as gpu:
        found = gpu.trace(pixels)
        assert gpu(pixels).tobytes() == wanted[qm.output].tobytes()
    fused = {op.name: op for op in qm.ops if op.name not in found}
    assert all(
        isinstance(op, QLayerNorm | QFloatNorm | QRegroup | QGate) or any(isinstance(r, QRotary) for r in readers(qm, name))
        for name, op in fused.items()
    )
    for name, value in found.items():
        assert (value.shape, value.dtype) == (wanted[name].shape, wanted[name].dtype), name
        assert value.tobytes() == wanted[name].tobytes(), name


def readers(qm: QuantizedModel, name: str) -> list[Op]:
    """Operators that read a value."""
    return [op for op in qm.ops if name in op.inputs]


@pytest.mark.parametrize(("plan", "target"), [("mixed", t) for t in TARGETS] + [(p, TARGETS[1]) for p in ("8/8", "4/4")])
def test_gpu_equals_reference(target, plan):
    assert_equal_bits("vit", plan, build_cuda(quantized("vit", plan), resolve_target(target)), 1)


def test_several_outputs_are_there_at_the_end():
    """The stream after each sum, which the next one is written over, and the answer."""
    qm = quantized("vit", "mixed")
    sums = [op.name for op in qm.ops if isinstance(op, QProduct) and op.epilogue == "residual"]
    several, pixels = dataclasses.replace(qm, outputs=(*sums[::-1], qm.output)), images("vit", 3)
    made = build_cuda(several, resolve_target("jetson-agx-orin-64gb"), batch=2)
    assert {"copy" in kernel["name"] for kernel in made.manifest["cuda"]["kernels"]} == {True, False}
    wanted = run_reference(qm, pixels, values=True)
    with runner(made) as gpu:
        found = gpu(pixels)
    for name, value in zip(several.outputs, found, strict=True):
        assert value.tobytes() == wanted[name].tobytes(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_reference(family):
    """3 images in an artifact for batches of 2: one whole bucket, and a single image."""
    made = build_cuda(quantized(family, "mixed"), resolve_target("jetson-agx-orin-64gb"), batch=2)
    assert [b["batch"] for b in made.manifest["cuda"]["buckets"]] == [1, 2]
    pixels = images(family, 3)
    with runner(made) as gpu:
        assert gpu(pixels).tobytes() == run_reference(quantized(family, "mixed"), pixels).tobytes()


def test_batches_around_the_limit_keep_the_same_values(monkeypatch):
    """One image's LayerNorms are made by the products after them, two images' are not: what both store is traced in both."""
    monkeypatch.setattr("lampq_tvm.lower.cuda.passes.norm_before.REPEATED", 3 / 16)  # three blocks on Orin
    made = build_cuda(quantized("vit", "8/8"), resolve_target("jetson-agx-orin-64gb"), batch=2)
    launches = [len(bucket["launches"]) for bucket in made.manifest["cuda"]["buckets"]]
    assert launches[0] < launches[1]
    assert_equal_bits("vit", "8/8", made, 1)
    assert_equal_bits("vit", "8/8", made, 2)


@pytest.mark.parametrize("family", ["vit", "swin", "swinv2", "eva02"])
def test_large_batches_store_their_norms(family, monkeypatch):
    """Where blocks are many the product before a LayerNorm makes it, and packs nibbles where its reader wants them."""
    monkeypatch.setattr("lampq_tvm.lower.cuda.passes.norm_before.REPEATED", 0)
    qm = quantized(family, "4/4")
    made = build_cuda(qm, resolve_target("jetson-agx-orin-64gb"), batch=2)
    values = made.manifest["cuda"]["buckets"][-1]["values"]
    norms = {op.name for op in qm.ops if isinstance(op, QLayerNorm)}
    assert norms <= {value["name"] for value in values} and "int4" in {value["dtype"] for value in values}
    assert_equal_bits(family, "4/4", made, 2)


BLOCKS = [("vit", "blocks.", 5), ("swin", "layers.0.blocks.", 5), ("swinv2", "layers.0.blocks.", 6), ("eva02", "blocks.", 6)]


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize(("family", "blocks", "count"), BLOCKS)
def test_a_block_is_at_most_six_launches(family, blocks, count, batch):
    """The first one may begin with a LayerNorm, or codes, that no block before it has made."""
    launches = lower_cuda(quantized(family, "mixed"), "sm_87", batch).launches
    between = ("regroup", "take", "mean")  # stages, and the head
    for block in range(2):
        own = [x for x in launches if x.out[1].name.startswith(f"{blocks}{block}.") and not x.kernel.startswith(between)]
        assert count <= len(own) <= count + (block == 0)
    written = [value.name for launch in launches for _, value in launch.outs]
    assert len(written) == len(set(written))


@pytest.mark.parametrize(("arch", "batch", "stored"), [("sm_87", 1, False), ("sm_87", 32, True), ("sm_90", 16, False)])
def test_few_blocks_do_not_store_their_norms(arch, batch, stored):
    """416 rows of 108 columns are 26 blocks, beside each other two: nothing for a large chip, twice its room for Orin's 16."""
    launches = lower_cuda(quantized("vit", "mixed"), arch, batch).launches
    written = {value.name for launch in launches for _, value in launch.outs}
    assert ("blocks.1.norm1" in written) == stored


def test_buckets_and_tuned_tiles(tmp_path):
    assert buckets(1) == [1] and buckets(8) == [1, 8] and buckets(64) == [1, 8, 32, 64] and buckets(5) == [1, 5]
    qm = quantized("one block", "8/8")
    for launch in lower_cuda(qm, "sm_87").launches:
        for kernel in [launch.kernel.partition("_o")[0]] if "W" in launch.params else []:
            kernel = kernel.replace("_s8", "_normed_s8") if "stream" in launch.reads else kernel
            facts = {"us": 1, "default_us": 2, "device": "a GPU", "trials": 1, "failed": 0}
            sizes = dataclasses.asdict(CudaTiles(16, 64, 8, 2, 1, 2))
            CudaRecord(arch="sm_87", kernel=kernel, sizes=sizes, **facts).save(tmp_path)
    other = lower_cuda(qm, "sm_87", records=CudaRecords("sm_87", tmp_path))
    assert {launch.kernel for launch in other.launches} != {launch.kernel for launch in lower_cuda(qm, "sm_87").launches}


def test_one_changed_constant_is_seen():
    """The comparison itself: a flipped bit of a weight changes the output."""
    made = build_cuda(quantized("one block", "8/8"), resolve_target("a100"))
    pixels = images("one block", 1)
    with runner(made) as gpu:
        machine = gpu._machine
        before = gpu(pixels)
        recipe = [i for i, r in enumerate(made.manifest["params"]) if r["from"] == "words"][2]
        address = machine._params[recipe]
        word = gpu.gpu.download(address, 4)
        gpu.gpu.upload(address, word ^ np.uint8(64))
        assert gpu(pixels).tobytes() != before.tobytes()
