"""One clear line for everything that can be wrong with a driver, a device or a plan."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

from lampq_tvm.device.cuda.driver import Driver
from lampq_tvm.errors import CorruptError, DeviceError, UnsupportedError
from lampq_tvm.runtime import Runner
from tests.runtime.cuda.artifact import small_artifact

ARTIFACT = small_artifact()


def refused(kind, run) -> str:
    with pytest.raises(kind) as error:
        run()
    line = str(error.value)
    assert "\n" not in line and "; " in line, "one line with a hint"
    return line


def load(stub, artifact=ARTIFACT):
    return Runner(artifact, gpu=Driver(stub.path))


def test_no_driver():
    assert "no CUDA driver (libcuda-of-nobody.so.1)" in refused(DeviceError, lambda: Driver("libcuda-of-nobody.so.1"))


def test_a_library_that_is_no_driver():
    assert "has no cuDriverGetVersion" in refused(DeviceError, lambda: Driver("libm.so.6"))


def test_no_device(stub):
    stub.library.stub_devices(0)
    assert "finds no device" in refused(DeviceError, lambda: load(stub))


def test_a_driver_older_than_all(stub):
    stub.library.stub_version(11020)
    assert "serves CUDA 11.2, 11.4 is the oldest" in refused(DeviceError, lambda: load(stub))


def test_a_driver_older_than_the_binaries(stub):
    stub.library.stub_version(11040)
    assert "compiled by CUDA 12, this driver serves CUDA 11.4" in refused(UnsupportedError, lambda: load(stub))


def test_a_newer_driver_serves(stub):
    stub.library.stub_version(13000)
    load(stub).close()


def test_another_gpu(stub):
    stub.library.stub_capability(90)
    assert "compiled for sm_87, this GPU is sm_90" in refused(UnsupportedError, lambda: load(stub))


def test_too_little_memory(stub):
    stub.library.stub_memory(2000 + stub.used_bytes)
    line = refused(DeviceError, lambda: load(stub))
    assert "no room for 2112 bytes of GPU memory" in line and "smaller batch" in line


def test_too_little_shared_memory(stub):
    stub.library.stub_shared(48 << 10)
    assert "kernel head needs 50000 bytes of shared memory, a block has 49152" in refused(DeviceError, lambda: load(stub))


FAILURES = [
    "cuInit",
    "cuDeviceGet",
    "cuDevicePrimaryCtxRetain",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuMemcpyHtoD_v2",
    "cuStreamCreate",
    "cuStreamBeginCapture_v2",
    "cuLaunchKernel",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
]


@pytest.mark.parametrize("entry", FAILURES)
def test_a_failed_call_is_named_and_nothing_is_kept(stub, entry):
    before = stub.used_bytes
    stub.fail(entry, 999)
    assert f"{entry} failed (CUDA_ERROR_STUB, told to fail)" in refused(DeviceError, lambda: load(stub))
    assert stub.used_bytes == before


def test_a_launch_that_fails_in_a_capture_ends_the_capture(stub):
    stub.fail("captured launch", 901)
    assert "cuLaunchKernel failed" in refused(DeviceError, lambda: load(stub))
    assert stub.calls("cuStreamBeginCapture_v2", "cuStreamEndCapture")[-1].entry == "cuStreamEndCapture"


def test_a_binary_for_another_arch(stub):
    stub.fail("cuModuleLoadData", 209)
    assert "not compiled for sm_87" in refused(DeviceError, lambda: load(stub))


def test_a_device_that_fails_while_running(stub):
    runner = load(stub)
    stub.fail("cuStreamSynchronize", 700)
    assert "cuStreamSynchronize failed" in refused(DeviceError, lambda: runner(np.zeros((1, 3, 8, 8), np.uint8)))
    runner.close()


def test_cuda_artifacts_run_where_the_gpu_is():
    line = refused(UnsupportedError, lambda: Runner(ARTIFACT, "rpc://127.0.0.1:9"))
    assert "run on the machine that has the GPU" in line


def changed(path, value):
    """The artifact with one thing changed in its CUDA part."""
    manifest = copy.deepcopy(ARTIFACT.manifest)
    place = manifest["cuda"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return dataclasses.replace(ARTIFACT, manifest=manifest)


LAUNCH = ("buckets", 0, "launches", 1)
BROKEN = [
    (("kernels", 0, "offset"), 1 << 20, "outside the binaries"),
    (("kernels", 2, "shared_bytes"), 200_000, "too much shared memory"),
    (("arch",), "sm_53", "too much shared memory"),
    (("buckets", 0, "arena_bytes"), 500, "lie outside the arena"),
    (("buckets", 0, "input"), [0, 191], "input of batch 1 is another"),
    (("buckets", 0, "outputs"), [[192, 18]], "not float32"),
    (("buckets", 0, "outputs"), [[384, 200]], "outside the arena"),
    (("buckets", 1, "batch"), 1, "not in order"),
    ((*LAUNCH, "kernel"), 3, "no kernel 3"),
    ((*LAUNCH, "grid"), [1, 65536, 1], "cannot be launched"),
    ((*LAUNCH, "grid"), [0, 1, 1], "greater than 0"),
    ((*LAUNCH, "block"), [1024, 2, 1], "cannot be launched"),
    ((*LAUNCH, "block"), [1, 1, 65], "cannot be launched"),
    ((*LAUNCH, "args", 0), ["value", 388, 8], "not a multiple of 16"),
    ((*LAUNCH, "args", 0), ["value", 384, 145], "outside the arena"),
    ((*LAUNCH, "args", 0), ["value", 384, 128], "packed is no argument"),
    ((*LAUNCH, "args", 2), ["param", 3], "no parameter 3"),
    ((*LAUNCH, "args", 2), ["param", -1], "Input should be"),
    ((*LAUNCH, "args", 2), ["weights", 1], "Input should be"),
    ((*LAUNCH, "writes"), [], "never written"),
    ((*LAUNCH, "writes"), ["patch"], "writes patch"),
    ((*LAUNCH, "writes"), ["other"], "writes other"),
    (("buckets", 0, "values", 1, "row_bytes"), 31, "rows of packed do not fit"),
    (("buckets", 0, "values", 1, "name"), "other", "the values of batch 1 are others"),
    (("buckets", 0, "values", 1, "shape"), [3, 1, 64], "of another batch"),
    (("buckets", 0, "values", 1, "dtype"), "int5", "Input should be"),
    (("buckets", 0, "launches"), [], "at least 1"),
    (("source",), "x", "Extra inputs"),
]


@pytest.mark.parametrize(("path", "value", "words"), BROKEN)
def test_a_plan_that_does_not_fit_itself(stub, path, value, words):
    line = refused(CorruptError, lambda: load(stub, changed(path, value)))
    assert "CUDA plan is not consistent" in line and words in line
    assert not stub.calls("cuModuleLoadData")


def test_no_plan_at_all(stub):
    manifest = {k: v for k, v in ARTIFACT.manifest.items() if k != "cuda"}
    refused(CorruptError, lambda: load(stub, dataclasses.replace(ARTIFACT, manifest=manifest)))
