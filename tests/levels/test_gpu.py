"""The table of GPU architectures against the compilers that are installed."""

from __future__ import annotations

import pytest

from lampq_tvm.compiler.cuda.nvrtc import available, compile_text
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.cuda.levels import KINDS, attention_mma, half_mma, mma_for
from lampq_tvm.levels import GPU_ARCHES, TOOLKITS
from lampq_tvm.targets import boards

TEXT = 'extern "C" __global__ void f(int* x) { x[threadIdx.x] = 1; }'


def test_every_boards_gpu_is_a_row():
    assert {board.gpu.arch for board in boards().values() if board.gpu} <= set(GPU_ARCHES)
    for row in GPU_ARCHES.values():
        assert row.shared_source and row.cuda_source and row.int4_source and row.shared_bytes >= 48 << 10
        assert row.matrix is not None or not row.int4_matrix


@pytest.mark.parametrize("major", TOOLKITS)
def test_a_toolkit_compiles_for_what_the_table_says(major):
    assert major in available()
    for name in GPU_ARCHES:
        row = GPU_ARCHES[name]
        if row.compiles(TOOLKITS[major].version):
            assert f".target {name}" in compile_text(TEXT, name, major).ptx
        else:
            with pytest.raises(UnsupportedError, match=f"does not know {name}"):
                compile_text(TEXT, name, major)


def test_every_kind_of_matrix_instruction_has_its_multiply_adds():
    assert set(KINDS) == {row.matrix for row in GPU_ARCHES.values()}
    for name in GPU_ARCHES:
        row = GPU_ARCHES[name]
        assert (mma_for(4, 4, name).name == "s4") == row.int4_matrix
        assert mma_for(8, 8, name).name == attention_mma(name).name == "s8" and half_mma(name).name == "f16"


def test_an_unknown_arch_is_one_line():
    with pytest.raises(UnsupportedError, match=r"unknown GPU architecture 'sm_88'; did you mean sm_8"):
        mma_for(8, 8, "sm_88")
