"""Tuning of CUDA kernels on the interpreter: candidates are compared, a killed search goes on, wrong ones are never chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lampq_tvm.errors import DeviceError, GateError, UnsupportedError
from lampq_tvm.kernels.cuda.fits import product_fits
from lampq_tvm.kernels.cuda.levels import mma_for, shared_limit
from lampq_tvm.kernels.cuda.tiles import default_tiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.ptx.driver import PtxDriver
from lampq_tvm.records.cuda import CudaRecords
from lampq_tvm.targets import resolve_target
from lampq_tvm.tune.cuda import search
from lampq_tvm.tune.cuda.search import propose, tune_cuda
from lampq_tvm.tune.cuda.tunable import TunableAttention, TunableProduct, tunables
from tests.compiler.networks import quantized
from tests.lower.networks import one_block

TARGET = resolve_target("h200@cuda12")
PRODUCT = TunableProduct(ProductShape(20, 40, 32, "codes"), mma_for(8, 8, "sm_90"), False, "sm_90")


@pytest.fixture
def gpu(monkeypatch):
    """Opens interpreters for whatever was compiled; `compiled` counts that."""
    ptx, inner = {}, search.compile_kernels
    for name in ("REPEATS", "SAMPLES", "FINAL_SAMPLES"):
        monkeypatch.setattr(search, name, 1)

    def remembered(*args):
        kernels = inner(*args)
        ptx.update({kernel.cubin: kernel.ptx for kernel in kernels.values()})
        open_gpu.compiled += len(kernels)
        return kernels

    def open_gpu():
        return PtxDriver(ptx, "sm_90", shared_bytes=227 << 10)

    open_gpu.compiled = 0
    monkeypatch.setattr(search, "compile_kernels", remembered)
    return open_gpu


def test_a_search_leaves_a_record_and_goes_on_where_it_was_killed(tmp_path, gpu):
    tune_cuda([PRODUCT], TARGET, gpu, trials=3, database=tmp_path)
    assert gpu.compiled == 3 + 3  # and once more each for the last comparison
    assert CudaRecords("sm_90", tmp_path).product(PRODUCT.shape, PRODUCT.mma, False).key in search_history(tmp_path)
    tune_cuda([PRODUCT], TARGET, gpu, trials=4, database=tmp_path)
    assert gpu.compiled <= 6 + 1 + 4  # one new candidate
    assert len(search_history(tmp_path)) == 4


def test_attention_in_windows_is_tuned_with_its_biases(tmp_path, gpu):
    found = [kernel for kernel in tunables(quantized("swin", "8/8"), "sm_90", 1) if isinstance(kernel, TunableAttention)]
    assert {kernel.shape.groups for kernel in found} == {1, 4} and len({kernel.key for kernel in found}) == len(found)
    shifted = next(kernel for kernel in found if kernel.shape.groups == 4)
    tune_cuda([shifted], TARGET, gpu, trials=2, database=tmp_path)
    record = search.CudaRecord.model_validate_json((tmp_path / "sm_90" / f"{shifted.key}.json").read_bytes())
    assert record.failed == 0 and list(record.history) == ["1x1"]  # 16 tokens leave no choice


def search_history(database):
    path = database / "sm_90" / f"{PRODUCT.key}.json"
    return search.CudaRecord.model_validate_json(path.read_bytes()).history


def test_a_wrong_candidate_fails_alone_and_a_wrong_default_stops_the_search(tmp_path, gpu, monkeypatch):
    inner, wrong = search.prepare, {"from": 1}

    def prepared(device, kernel, case):
        wrong["from"] -= 1
        changed = case.expected.copy()
        changed[0, 0] ^= 1
        return inner(device, kernel, dataclasses.replace(case, expected=changed) if wrong["from"] < 0 else case)

    monkeypatch.setattr(search, "prepare", prepared)
    tune_cuda([PRODUCT], TARGET, gpu, trials=3, database=tmp_path)
    assert len(search_history(tmp_path)) == 1
    with pytest.raises(GateError, match="default sizes fail"):
        tune_cuda([PRODUCT], TARGET, gpu, trials=2, database=tmp_path / "other")


def test_a_crash_is_tried_again_and_no_failure_of_the_default_is_remembered(tmp_path, gpu, monkeypatch):
    inner, crashes = search.prepare, {"left": 2}

    def prepared(*args):
        crashes["left"] -= 1
        if crashes["left"] >= 0:
            raise DeviceError("an illegal address")
        return inner(*args)

    monkeypatch.setattr(search, "prepare", prepared)
    with pytest.raises(DeviceError, match=r"default sizes fail .crash: .*an illegal address"):
        tune_cuda([PRODUCT], TARGET, gpu, trials=1, database=tmp_path)
    crashes["left"] = 1
    tune_cuda([PRODUCT], TARGET, gpu, trials=1, database=tmp_path)
    assert len(search_history(tmp_path)) == 1


def test_a_compiler_that_is_missing_ends_the_search_and_is_not_remembered(tmp_path, gpu, monkeypatch):
    def missing(*args):
        raise UnsupportedError("CUDA 12's compiler is not installed")

    with monkeypatch.context() as patch:
        patch.setattr(search, "compile_kernels", missing)
        with pytest.raises(UnsupportedError, match="not installed"):
            tune_cuda([PRODUCT], TARGET, gpu, trials=1, database=tmp_path)
    tune_cuda([PRODUCT], TARGET, gpu, trials=1, database=tmp_path)
    assert len(search_history(tmp_path)) == 1


def test_the_model_prefers_what_resembles_the_best():
    """Times that fall with the blocks' rows: after the warm-up most proposals have many rows."""
    candidates = {candidate.label: candidate for candidate in PRODUCT.candidates()}
    labels = np.random.default_rng(0).permutation(list(candidates))[:40]
    costs = {label: 1000.0 / candidates[label].sizes["rows"] for label in labels}
    found = propose(candidates, costs, 8, 0)
    assert len(set(found)) == 8 and not set(found) & set(costs)
    best, others = found[2:], [label for label in candidates if label not in costs]
    mean = np.mean([candidates[label].sizes["rows"] for label in others])
    assert np.mean([candidates[label].sizes["rows"] for label in best]) > mean
    assert propose(candidates, costs, 8, 0) == found != propose(candidates, costs, 8, 1)


def test_every_product_and_attention_of_a_network_can_be_tuned():
    found = tunables(quantized("vit", "mixed"), "sm_90", 1)
    kinds = {kernel.key.split("_")[0] for kernel in found}
    assert kinds == {"codes", "residual", "table", "stream", "float", "attention"}
    spaces = [[candidate.label for candidate in kernel.candidates()] for kernel in found]
    assert all(space and len(set(space)) == len(space) for space in spaces)
    assert sum(map(len, spaces)) > 3 * len(spaces)


@pytest.mark.parametrize("family", ["vit", "swin", "swinv2", "eva02"])
@pytest.mark.parametrize(("arch", "batch"), [("sm_87", 1), ("sm_87", 32), ("sm_90", 1)])
def test_what_is_tuned_is_what_is_launched(family, arch, batch):
    """Products that turn q and k take the sizes of products to codes."""
    qm = quantized(family, "8/8")
    products = [launch for launch in lower_cuda(qm, arch, batch).launches if "W" in launch.params]
    launched = {(x.kernel.replace("turned_", "codes_").partition("_o")[0], "stream" in x.reads) for x in products}
    tuned = [kernel for kernel in tunables(qm, arch, batch) if isinstance(kernel, TunableProduct)]
    assert {(f"{kernel.shape.key}_{kernel.mma.name}", kernel.normed) for kernel in tuned} == launched


def test_every_kernel_that_is_tuned_fits_with_its_default_sizes():
    """A wide stream: with a LayerNorm, the product's default tiles fit no block of sm_89, so lowering does not fuse it."""
    qm = one_block(1280, 16, 20)
    shape, arch = ProductShape(257, 5120, 1280, "table"), "sm_89"
    mma = mma_for(8, 8, arch)
    assert not product_fits(shape, mma, default_tiles(shape, mma), arch, normed=True)
    found = {kernel.key: kernel for kernel in tunables(qm, arch, 1)}
    assert "table_m257_n5120_k1280_s8" in found and "table_m257_n5120_k1280_normed_s8" not in found
    for kernel in found.values():
        first = kernel.candidates()[0]
        assert first.build("first").shared_bytes <= shared_limit(arch), kernel.key
