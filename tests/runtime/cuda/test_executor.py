"""What the executor asks of the driver, call by call, against the manifest."""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest

from lampq_tvm.artifact.launches import ALIGN
from lampq_tvm.device.cuda.driver import Driver
from lampq_tvm.errors import UsageError
from lampq_tvm.oracle.ops import pixels_from_float
from lampq_tvm.runtime import Runner
from tests.runtime.cuda.artifact import SHARED_BYTES, constants, small_artifact

ARTIFACT = small_artifact()
CUDA = ARTIFACT.manifest["cuda"]
BUCKETS = {bucket["batch"]: bucket for bucket in CUDA["buckets"]}


@pytest.fixture
def runner(stub):
    with Runner(ARTIFACT, gpu=Driver(stub.path)) as runner:
        yield runner


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 8, 8), np.uint8)


def memory(stub) -> tuple[list[int], int]:
    """Addresses of the parameters, and of the arena."""
    sizes = [int(call.arguments[0]) for call in stub.calls("cuMemAlloc_v2")]
    fixed = constants()
    assert sizes == [fixed[name].nbytes for name in ("B", "S", "table")] + [BUCKETS[4]["arena_bytes"]]
    uploads = stub.calls("cuMemcpyHtoD_v2")
    assert [int(call.arguments[1]) for call in uploads] == sizes
    *params, arena = (int(call.arguments[0], 16) for call in uploads)
    copies = stub.calls("cuMemcpyHtoDAsync_v2")
    assert int(copies[-1].arguments[0], 16) == arena + BUCKETS[1]["input"][0]
    return params, arena


def test_every_launch_is_the_manifests(stub, runner):
    runner(pixels(1))
    params, arena = memory(stub)
    for address, name in zip(params, ("B", "S", "table"), strict=True):
        size = constants()[name].nbytes
        assert ctypes.string_at(address, size) == constants()[name].tobytes()
    launches = stub.calls("cuLaunchKernel")
    wanted = [(bucket, launch) for bucket in BUCKETS.values() for _ in ("first", "captured") for launch in bucket["launches"]]
    assert len(launches) == len(wanted) == 12
    for call, (bucket, launch) in zip(launches, wanted, strict=True):
        kernel = CUDA["kernels"][launch["kernel"]]
        name, grid, block, shared, *addresses = call.arguments
        assert (name, int(shared)) == (kernel["entry"], kernel["shared_bytes"])
        assert [grid, block] == [",".join(map(str, launch[key])) for key in ("grid", "block")]
        assert len(addresses) == len(launch["args"])  # as many as the compiled kernel has
        for text, (kind, *place) in zip(addresses, launch["args"], strict=True):
            address = int(text, 16)
            assert address % ALIGN == 0
            if kind == "param":
                assert address == params[place[0]]
            else:
                assert address == arena + place[0] and place[0] + place[1] <= bucket["arena_bytes"]
    assert [call.arguments for call in stub.calls("cuFuncSetAttribute")] == [("head", "8", str(SHARED_BYTES))]


def test_captured_once_and_replayed_per_call(stub, runner):
    assert [len(stub.calls(f"cu{name}")) for name in ("StreamBeginCapture_v2", "GraphInstantiateWithFlags")] == [2, 2]
    names = ("cuLaunchKernel", "cuStreamSynchronize", "cuStreamBeginCapture_v2", "cuStreamEndCapture")
    once = 3 * [names[0]] + [names[1], names[2]] + 3 * [names[0]] + [names[3]]
    uploads = (len(constants()) + 1) * [names[1]]
    assert [call.entry for call in stub.calls(*names)] == uploads + 2 * once  # nothing loads lazily during a capture
    stub.clear()
    for _ in range(3):
        runner(pixels(4))
    assert [call.entry for call in stub.calls()] == 3 * [
        "cuCtxSetCurrent",
        "cuMemcpyHtoDAsync_v2",
        "cuGraphLaunch",
        "cuMemcpyDtoHAsync_v2",
        "cuStreamSynchronize",
    ]
    graph = {call.arguments for call in stub.calls("cuGraphLaunch")}
    runner(pixels(1))
    assert len(graph) == 1 and graph != {stub.calls("cuGraphLaunch")[-1].arguments}
    assert not stub.calls("cuLaunchKernel", "cuStreamBeginCapture_v2")


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (2, [4]), (5, [4, 1]), (7, [4, 4]), (13, [4, 4, 4, 1])])
def test_any_number_of_images_by_the_batches_there_are(stub, runner, count, sizes):
    stub.clear()
    images = pixels(count)
    assert runner(images).shape == (count, 5)
    copied = [int(call.arguments[1]) for call in stub.calls("cuMemcpyHtoDAsync_v2")]
    assert copied == [192 * size for size in sizes]
    returned = [int(call.arguments[1]) for call in stub.calls("cuMemcpyDtoHAsync_v2")]
    assert returned == [20 * size for size in sizes]


def test_a_trace_copies_each_value_right_after_its_launch(stub, runner):
    runner(pixels(1))
    _, arena = memory(stub)
    stub.clear()
    runner.trace(pixels(1))
    calls = stub.calls("cuLaunchKernel", "cuMemcpyDtoH_v2")
    assert [call.entry for call in calls] == ["cuLaunchKernel", "cuMemcpyDtoH_v2"] * 3
    copies = [(int(call.arguments[0], 16) - arena, int(call.arguments[1])) for call in calls[1::2]]
    assert copies == [(192, 192), (384, 144), (192, 20)]


def test_float_images_become_the_tables_pixels(stub, runner):
    spec = ARTIFACT.manifest["input"]
    x = np.random.default_rng(0).normal(scale=3, size=(4, 3, 8, 8)).astype(np.float32)
    runner(x)
    copy = stub.calls("cuMemcpyHtoDAsync_v2")[-1]
    found = np.frombuffer(ctypes.string_at(int(copy.arguments[0], 16), int(copy.arguments[1])), np.uint8)
    assert (found.reshape(x.shape) == pixels_from_float(x, spec["mean"], spec["std"])).all()


def test_times_are_the_graphs_alone(stub, runner):
    stub.clear()
    assert runner.bench(2, warmup=1) == [1.5, 1.5]
    between = ["cuEventRecord", "cuGraphLaunch", "cuEventRecord", "cuEventSynchronize", "cuEventElapsedTime"]
    assert [call.entry for call in stub.calls()] == ["cuCtxSetCurrent", "cuMemcpyHtoDAsync_v2", *(3 * between)]


@pytest.mark.parametrize(("version", "early"), [(12060, True), (12020, False)])
def test_kernels_that_wait_by_themselves_start_early_where_graphs_keep_that(stub, version, early):
    manifest = copy.deepcopy(ARTIFACT.manifest)
    manifest["cuda"]["kernels"][1]["early"] = True
    stub.library.stub_version(version)
    with Runner(dataclasses.replace(ARTIFACT, manifest=manifest), gpu=Driver(stub.path)):
        entries = [call.entry for call in stub.calls("cuLaunchKernel", "cuLaunchKernelEx")]
    once = ["cuLaunchKernel", *(["cuLaunchKernelEx"] if early else []), "cuLaunchKernel", "cuLaunchKernel"]
    assert entries == 4 * once  # the stub notes such a launch as both


def test_each_launch_is_timed_alone(stub, runner):
    found = runner.launch_ms(4, repeat=10)
    assert found == [(name, pytest.approx(0.15)) for name in ("patch", "pack", "head")]


def test_a_launch_timed_alone_starts_after_the_one_before(stub):
    manifest = copy.deepcopy(ARTIFACT.manifest)
    manifest["cuda"]["kernels"][1]["early"] = True
    with Runner(dataclasses.replace(ARTIFACT, manifest=manifest), gpu=Driver(stub.path)) as runner:
        stub.clear()
        runner.launch_ms(4, repeat=2)
        assert stub.calls("cuLaunchKernel") and not stub.calls("cuLaunchKernelEx")


@pytest.mark.parametrize("call", [lambda x: x.launch_ms(3), lambda x: x.bench(1, batch=3)])
def test_a_batch_that_was_not_compiled_is_named(runner, call):
    with pytest.raises(UsageError, match=r"no kernels for a batch of 3.*compiled for 1, 4"):
        call(runner)


def test_an_upload_is_complete_before_anything_follows(stub, runner):
    calls = stub.calls("cuMemcpyHtoD_v2", "cuStreamSynchronize")
    for copied, waited in itertools.pairwise(calls):
        if copied.entry == "cuMemcpyHtoD_v2":
            assert waited.entry == "cuStreamSynchronize" and waited.arguments == ("(nil)",)


def test_everything_is_given_back(stub):
    before = stub.used_bytes
    runner = Runner(ARTIFACT, gpu=Driver(stub.path))
    runner(pixels(1))
    assert stub.used_bytes > before
    runner.close()
    assert stub.used_bytes == before
    released = [call.entry for call in stub.calls()][-4:]
    assert released[-1] == "cuDevicePrimaryCtxRelease_v2"
    assert len(stub.calls("cuModuleUnload")) == 3 and len(stub.calls("cuGraphExecDestroy")) == 2
    count = len(stub.calls())
    runner.close()
    assert len(stub.calls()) == count


def test_wrong_images_never_reach_the_device(stub, runner):
    stub.clear()
    with pytest.raises(UsageError, match="images are"):
        runner(np.zeros((1, 3, 8, 9), np.uint8))
    assert not stub.calls()


def test_neither_tvm_nor_torch_is_imported():
    script = (
        "import sys, lampq_tvm.runtime.cuda.executor, lampq_tvm.runtime.runner\n"
        "print(sorted({'tvm', 'torch', 'cuda', 'cupy', 'pycuda'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
