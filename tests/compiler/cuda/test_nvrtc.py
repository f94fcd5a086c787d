"""A small kernel through TVM's text and every installed compiler."""

import pytest
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.compiler.cuda.nvrtc import available, compile_text
from lampq_tvm.compiler.cuda.text import cuda_text
from lampq_tvm.errors import LampqError, UnsupportedError
from lampq_tvm.levels import TOOLKITS


@pytest.fixture(scope="module")
def scale():
    """out = fma(x, a, b) in 64 threads."""
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("scale")
            T.func_attr({"global_symbol": "scale", "tirx.noalias": True})
            out, x, a = (T.arg(name, T.buffer((64,), "float32")) for name in ("out", "x", "a"))
            with T.launch_thread("threadIdx.x", 64) as i, T.sblock("body"):
                T.reads()
                T.writes()
                T.buffer_store(out, T.fma(x[i], a[i], tirx.const(1, "float32")) / a[i], [i])
        return builder.get()


def test_every_compiler_is_installed():
    assert available() == tuple(TOOLKITS)


CASES = [("sm_53", 12), ("sm_72", 11), ("sm_72", 12), ("sm_75", 13), ("sm_87", 11), ("sm_87", 12), ("sm_110", 13)]


@pytest.mark.parametrize(("arch", "major"), CASES)
def test_text_names_and_exact_arithmetic(scale, arch, major):
    text = cuda_text(scale, arch)
    assert text.name == "scale_kernel" and sorted(text.params) == ["a", "out", "x"]
    assert "#include" not in text.text
    compiled = compile_text(text.text, arch, major)
    assert compiled.cubin[:4] == b"\x7fELF" and f".target {arch}" in compiled.ptx
    assert "fma.rn.f32" in compiled.ptx and "div.rn.f32" in compiled.ptx and ".ftz" not in compiled.ptx


def test_what_cannot_compile_is_named(scale):
    with pytest.raises(UnsupportedError, match="does not know sm_53"):
        compile_text(cuda_text(scale, "sm_53").text, "sm_53", 13)
    with pytest.raises(LampqError, match="does not compile"):
        compile_text("int x = ;", "sm_87", 12)
