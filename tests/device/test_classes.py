"""Every kind of instruction that kernels are made of falls into its class, and nothing is counted twice."""

import re
import subprocess
from collections import Counter

from lampq_tvm.device.classes import CLASSES
from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.native_core import NativeCore
from lampq_tvm.resources import PACKAGE

SAMPLES = {
    "branch": ["b 9f\n9:", "cbz xzr, 9f\n9:", "b.al 9f\n9:", "tbz x0, #1, 9f\n9:"],
    "integer": [
        "add x9, x9, #4",
        "orr x9, x9, x10",
        "lsl x9, x10, #3",
        "lsl x9, x10, x11",
        "csel x9, x10, x11, eq",
        "adrp x9, k",
        "mov w9, #7",
        "subs x9, x9, x10",
        "sxtw x9, w10",
    ],
    "multiply": ["mul x9, x10, x11", "madd w9, w10, w11, w12", "smull x9, w10, w11", "udiv x9, x10, x11"],
    "load": [
        "ldr x9, [sp]",
        "ldrb w9, [sp]",
        "ldrsb w9, [sp]",
        "ldp x9, x10, [sp]",
        "ldrsw x9, [sp, #4]",
        "ldr x9, k",
        "ldur x9, [sp, #1]",
    ],
    "load_vector": [
        "ldr q0, [sp]",
        "ldr s0, [sp]",
        "ldr q0, [sp, xzr]",
        "ld1 {v0.16b}, [x13]",
        "ld1r {v0.4s}, [x13]",
        "ldur q0, [sp, #1]",
    ],
    "load_vectors": [
        "ldp q0, q1, [sp]",
        "ldp s0, s1, [sp]",
        "ld1 {v0.16b, v1.16b}, [x13]",
        "ld2 {v0.16b, v1.16b}, [x13]",
    ],
    "load_many": [
        "ld1 {v0.16b, v1.16b, v2.16b}, [x13]",
        "ld1 {v0.16b, v1.16b, v2.16b, v3.16b}, [x13]",
        "ld4 {v0.8b, v1.8b, v2.8b, v3.8b}, [x13]",
    ],
    "store": ["str x9, [sp, #16]", "strb w9, [sp, #16]", "stp x9, x10, [sp, #16]", "stur w9, [sp, #17]"],
    "store_vector": ["str q0, [sp, #16]", "str b0, [sp, #16]", "st1 {v0.16b}, [x13]", "st1 {v0.b}[2], [x13]"],
    "store_vectors": ["stp q0, q1, [sp]", "st1 {v0.16b, v1.16b}, [x13]", "st2 {v0.16b, v1.16b}, [x13]"],
    "dot": [
        "sdot v0.4s, v1.16b, v2.16b",
        "udot v0.4s, v1.16b, v2.16b",
        "sdot v0.4s, v1.16b, v2.4b[1]",
        "usdot v0.4s, v1.16b, v2.16b",
        "sudot v0.4s, v1.16b, v2.4b[1]",
    ],
    "matrix": ["smmla v0.4s, v1.16b, v2.16b", "ummla v0.4s, v1.16b, v2.16b", "usmmla v0.4s, v1.16b, v2.16b"],
    "vector_multiply": [
        "mul v0.8h, v1.8h, v2.8h",
        "mla v0.16b, v1.16b, v2.16b",
        "mla v0.4s, v1.4s, v2.s[1]",
        "sqdmulh v0.4s, v1.4s, v2.4s",
        "sqrdmulh v0.8h, v1.8h, v2.h[1]",
        "mul v0.8h, v1.8h, v2.h[1]",
    ],
    "multiply_long": [
        "smull v0.8h, v1.8b, v2.8b",
        "smlal2 v0.8h, v1.16b, v2.16b",
        "smlal v0.4s, v1.4h, v2.h[1]",
        "smull v0.4s, v1.4h, v2.h[1]",
        "umlal v0.4s, v1.4h, v2.h[1]",
        "umull v0.4s, v1.4h, v2.4h",
        "sqdmull v0.4s, v1.4h, v2.4h",
    ],
    "shift": [
        "shl v0.8h, v1.8h, #3",
        "sshr v0.16b, v1.16b, #3",
        "sxtl v0.8h, v1.8b",
        "sqxtn v0.4h, v1.4s",
        "sqxtun v0.8b, v1.8h",
        "sqrshrn v0.4h, v1.4s, #3",
        "sadalp v0.4s, v1.8h",
        "ssra v0.4s, v1.4s, #1",
        "sshl v0.4s, v1.4s, v2.4s",
        "addv s0, v1.4s",
        "smaxv b0, v1.16b",
        "saddlv h0, v1.16b",
        "shll v0.8h, v1.8b, #8",
    ],
    "vector": [
        "add v0.4s, v1.4s, v2.4s",
        "sub v0.16b, v1.16b, v2.16b",
        "smax v0.8h, v1.8h, v2.8h",
        "saddw v0.8h, v1.8h, v2.8b",
        "saddl v0.8h, v1.8b, v2.8b",
        "saddlp v0.4s, v1.8h",
        "addp v0.4s, v1.4s, v2.4s",
        "and v0.16b, v1.16b, v2.16b",
        "bsl v0.16b, v1.16b, v2.16b",
        "cmgt v0.4s, v1.4s, v2.4s",
        "xtn v0.4h, v1.4s",
        "movi v0.4s, #1",
        "mvn v0.16b, v1.16b",
        "neg v0.4s, v1.4s",
        "abs v0.4s, v1.4s",
    ],
    "permute": [
        "trn1 v0.4s, v1.4s, v2.4s",
        "ext v0.16b, v1.16b, v2.16b, #3",
        "rev64 v0.4s, v1.4s",
        "dup v0.4s, v1.s[1]",
        "mov v0.s[1], v1.s[2]",
        "mov s0, v1.s[1]",
    ],
    "zip": ["zip1 v0.16b, v1.16b, v2.16b", "uzp2 v0.8h, v1.8h, v2.8h", "uzp1 v0.4s, v1.4s, v2.4s", "zip2 v0.4s, v1.4s, v2.4s"],
    "table": ["tbl v0.16b, {v1.16b}, v2.16b", "tbx v0.16b, {v1.16b, v2.16b}, v3.16b", "tbl v0.16b, {v1.16b-v4.16b}, v5.16b"],
    "float": [
        "fadd v0.4s, v1.4s, v2.4s",
        "fmla v0.4s, v1.4s, v2.4s",
        "fmla v0.4s, v1.4s, v2.s[1]",
        "fmul v0.4s, v1.4s, v2.s[1]",
        "fmax v0.4s, v1.4s, v2.4s",
        "fminnm v0.4s, v1.4s, v2.4s",
        "fabs v0.4s, v1.4s",
        "fcmgt v0.4s, v1.4s, #0.0",
        "fcmgt v0.4s, v1.4s, v2.4s",
        "fmadd s0, s1, s2, s3",
        "fadd s0, s1, s2",
        "fcmp s0, s1",
        "fcsel s0, s1, s2, eq",
        "fmov s0, #1.0",
        "fmov s0, s1",
        "fmaxnm s0, s1, s2",
        "faddp s0, v1.2s",
        "fadd v0.8h, v1.8h, v2.8h",
        "fmaxv s0, v1.4s",
    ],
    "divide": ["fdiv v0.4s, v1.4s, v2.4s", "fsqrt v0.4s, v1.4s", "fdiv s0, s1, s2", "fsqrt s0, s1"],
    "convert": [
        "scvtf v0.4s, v1.4s",
        "fcvtns v0.4s, v1.4s",
        "fcvtzs v0.4s, v1.4s",
        "frintn v0.4s, v1.4s",
        "scvtf v0.4s, v1.4s, #3",
        "fcvtl v0.4s, v1.4h",
        "fcvtn v0.4h, v1.4s",
        "fcvt d0, s1",
        "frintn s0, s1",
        "scvtf s0, s1",
    ],
    "transfer": [
        "umov w9, v0.b[1]",
        "smov x9, v0.b[1]",
        "dup v0.4s, w9",
        "mov v0.b[3], w9",
        "fmov w9, s0",
        "fmov s0, w9",
        "scvtf s0, w9",
    ],
}
FRAME = """
.arch armv8.6-a+fp16
.globl __tvm_ffi_main
__tvm_ffi_main:
    sub sp, sp, #256
    add x13, sp, #64
{body}
    add sp, sp, #256
    mov w0, wzr
    ret
.p2align 4
k:  .quad 0, 0
"""


def test_each_instruction_counts_in_its_class(pi5, tmp_path):
    source, library = tmp_path / "all.s", tmp_path / "all.so"
    source.write_text(FRAME.format(body="\n".join(line for lines in SAMPLES.values() for line in lines)))
    subprocess.run([cross_compiler("aarch64"), "-shared", "-nostdlib", "-o", library, source], check=True)
    counted = NativeCore("jetson-agx-thor").count(library, [], [])
    expected = Counter({name: len(lines) for name, lines in SAMPLES.items()})
    expected.update({"integer": 4, "branch": 1})
    assert dict(zip(CLASSES, counted.classes, strict=True)) == {name: expected[name] for name in CLASSES}


def test_names_and_slots_are_those_of_the_counter():
    header = (PACKAGE / "device/classes.h").read_text()
    names = re.findall(r"\w+", header[header.index("enum {") + 6 : header.index("};")])
    assert tuple(name.lower() for name in names) == CLASSES
