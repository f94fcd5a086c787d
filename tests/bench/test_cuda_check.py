"""The bundle of the GPU check, run on the interpreter: exact kernels pass, a changed one is seen, candidates build."""

import numpy as np
import pytest

from bench.cuda import bundle as cuda_bundle
from bench.cuda import check as cuda_check
from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.ptx.driver import PtxDriver
from lampq_tvm.targets import resolve_target
from lampq_tvm.tune.cuda.case import product_case
from lampq_tvm.tune.cuda.space import candidates
from tests import kept

kept_code = kept.kept_code  # a fixture


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A small bundle, and how to open the interpreter for its binaries."""
    monkeypatch.setattr(cuda_bundle, "EDGES", ((17, 34, 40), (3, 10, 200)))
    target, ptx = resolve_target("h200@cuda12"), {}
    inner = cuda_bundle.compile_kernels

    def remembered(*args):
        kernels = inner(*args)
        ptx.update({kernel.cubin: kernel.ptx for kernel in kernels.values()})
        return kernels

    monkeypatch.setattr(cuda_bundle, "compile_kernels", remembered)
    cuda_bundle.bundle_kernels(target, tmp_path)
    return tmp_path / "kernels.npz", lambda: PtxDriver(ptx, "sm_90")


def test_the_bundle_is_exact_and_sees_a_changed_byte(bundle, monkeypatch):
    path, open_gpu = bundle
    rows = list(cuda_check.check_kernels(path, open_gpu))
    assert len(rows) > 25 and {row["differ"] for row in rows} == {0}
    assert any("_s4_" in row["what"] for row in rows) and any("normed" in row["what"] for row in rows)
    inner = cuda_check.bundled

    def changed(path):
        for row, cubin, buffers in inner(path):
            if "W" in buffers:
                word = buffers["W"].copy()
                word[0, 0] ^= 0x70
                yield row, cubin, buffers | {"W": word}

    monkeypatch.setattr(cuda_check, "bundled", changed)
    assert sum(row["differ"] > 0 for row in cuda_check.check_kernels(path, open_gpu)) > 20


@pytest.mark.parametrize("arch", ["sm_75", "sm_87", "sm_90"])
def test_candidates_build_and_are_exact(arch):
    """A random choice of every product's space: all of it builds on one architecture, with shared memory in bounds."""
    target = {"sm_75": None, "sm_87": resolve_target("jetson-agx-orin-64gb"), "sm_90": resolve_target("h200")}[arch]
    rng = np.random.default_rng(0)
    for shape, normed in cuda_bundle.products(192, 1):
        for w, a in cuda_bundle.PAIRS:
            mma = mma_for(w, a, arch)
            able = candidates(shape, mma, arch, normed=normed)
            assert len(able) > 100 and len(set(able)) == len(able)
            if arch == "sm_87":
                for i in rng.choice(len(able), 1):
                    kernel = cuda_bundle.candidate(shape, mma, able[i], normed, target)
                    assert kernel is not None, (shape, able[i])
    if target is None:
        return
    shape = ProductShape(40, 96, 64, "codes")
    mma = mma_for(8, 8, arch)
    for i in rng.choice(len(able := candidates(shape, mma, arch, normed=True)), 4, replace=False):
        kernel = cuda_bundle.candidate(shape, mma, able[i], True, target)
        case = product_case(shape, 8, 8, mma, able[i], normed=True)
        row = {"params": kernel.params, "entry": kernel.entry, "shared_bytes": kernel.kernel.shared_bytes}
        row |= {"grid": kernel.kernel.grid, "block": kernel.kernel.block, "of": case.of}
        gpu = PtxDriver({kernel.cubin: kernel.ptx}, arch)
        differ, _ = cuda_check.run_kernel(gpu, row, kernel.cubin, {**case.buffers, "expected": case.expected})
        assert differ == 0
