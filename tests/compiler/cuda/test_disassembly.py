"""Native instructions and resources of small kernels."""

import pytest

from lampq_tvm.compiler.cuda.disassembly import sass, tool, usage
from lampq_tvm.compiler.cuda.nvrtc import compile_text
from lampq_tvm.errors import UnsupportedError

pytestmark = pytest.mark.skipif(tool("nvdisasm") is None, reason="nvdisasm is not installed")
MMA = """extern "C" __global__ void product(int* d, const unsigned* a, const unsigned* b) {
    __shared__ int kept[32];
    int c0 = 0, c1 = 0, c2 = 0, c3 = 0, t = threadIdx.x;
    asm("mma.sync.aligned.m16n8k%d.row.col.s32.%s.%s.s32 {%%0,%%1,%%2,%%3}, {%%4,%%5,%%6,%%7}, {%%8,%%9}, {%%0,%%1,%%2,%%3};"
        : "+r"(c0), "+r"(c1), "+r"(c2), "+r"(c3)
        : "r"(a[t]), "r"(a[t + 32]), "r"(a[t + 64]), "r"(a[t + 96]), "r"(b[t]), "r"(b[t + 32]));
    kept[t] = c0; __syncthreads();
    if (t < 16) d[t] = kept[31 - t] + c1 + c2 + c3;
}"""
STACK = """extern "C" __global__ void lookup(int* d, const int* i) {
    int kept[64] = {};
    for (int n = 0; n < 64; ++n) kept[i[n]] += n;
    d[threadIdx.x] = kept[i[64 + threadIdx.x]];
}"""
ARCHES = [("sm_75", 13), ("sm_80", 11), ("sm_87", 11), ("sm_87", 12), ("sm_90", 12), ("sm_110", 13)]


@pytest.mark.parametrize(("arch", "major"), [pair for pair in ARCHES if pair[0] != "sm_75"])
def test_int8_is_native_from_ampere_on(arch, major):
    opcodes = [i.opcode for i in sass(compile_text(MMA % (32, "s8", "s8"), arch, major).cubin)]
    assert sum(code.startswith("IMMA.16832.S8.S8") for code in opcodes) == 1
    assert "EXIT" in opcodes


@pytest.mark.parametrize(
    ("arch", "native"), [("sm_80", True), ("sm_86", True), ("sm_87", True), ("sm_89", True), ("sm_90", False)]
)
def test_int4_is_native_until_ada(arch, native):
    opcodes = [i.opcode for i in sass(compile_text(MMA % (64, "s4", "s4"), arch, 12).cubin)]
    assert any(code.startswith("IMMA.16864.S4.S4") for code in opcodes) == native
    assert any(code.startswith("IMMA") for code in opcodes)


def test_an_instruction_has_its_parts():
    found = sass(compile_text(MMA % (32, "s8", "s8"), "sm_80", 12).cubin)
    exits = [i for i in found if i.opcode == "EXIT"]
    assert {bool(i.predicate) for i in exits} == {True, False} and all(not i.operands for i in exits)
    assert next(i for i in found if i.opcode.startswith("IMMA")).operands.count(",") == 3


@pytest.mark.parametrize(("arch", "major"), [("sm_72", 11), ("sm_72", 12), *ARCHES])
def test_resources(arch, major):
    kernel = compile_text(MMA % (32, "s8", "s8"), arch, major).cubin if arch not in ("sm_72", "sm_75") else None
    lookup = usage(compile_text(STACK, arch, major).cubin)
    assert set(lookup) == {"lookup"} and lookup["lookup"].spills and lookup["lookup"].stack_bytes >= 256
    if kernel is not None:
        found = usage(kernel)["product"]
        assert not found.spills and 10 < found.registers < 64 and found.shared_bytes in (128, 128 + 1024)  # + the driver's own


def test_what_cannot_be_read_is_one_line():
    with pytest.raises(UnsupportedError, match="nvdisasm does not read this binary") as error:
        sass(compile_text(STACK, "sm_72", 12).cubin)
    assert "\n" not in str(error.value)
