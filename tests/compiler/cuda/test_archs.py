"""Kernels of DeiT-T on every architecture: they compile, hold the native instruction, and spill nothing.

Every kernel on one architecture; on the others those that differ most there: attention, and products by each matrix
instruction with a LayerNorm in front and without, those with the most registers among them.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lampq_tvm.compiler.cuda.build import CompiledKernel, compile_kernels
from lampq_tvm.compiler.cuda.disassembly import sass, usage
from lampq_tvm.kernels.cuda.attention import build_attention
from lampq_tvm.kernels.cuda.attention_half import build_half_attention
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape
from lampq_tvm.kernels.cuda.following import Following
from lampq_tvm.kernels.cuda.levels import attention_mma, half_mma, mma_for
from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kernels.cuda.operand import Gather
from lampq_tvm.kernels.cuda.product import build_product
from lampq_tvm.kernels.cuda.tokens import build_patches, build_prefix, build_take
from lampq_tvm.kernels.cuda.turned import Turning
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.launch import Launch, Value
from lampq_tvm.ptx.coverage import unknown
from lampq_tvm.ptx.parse import parse

MAJORS = {"sm_72": 12, "sm_75": 12, "sm_80": 11, "sm_87": 12, "sm_90": 12, "sm_110": 13}
WHOLE = "sm_87"  # the architecture of most boards
ELSEWHERE = re.compile("(qkv|fc2|nibbles|turned)_(88|44|16)|attention|attention_f16|biased_f16|norm|take")
WIDTHS = {"88": (8, 8), "48": (4, 8), "44": (4, 4)}
PRODUCTS = {  # of a block, with the LayerNorm in front of it or not; and the embedding and the head
    "qkv": (ProductShape(197, 576, 192, "codes"), 1e-6),
    "proj": (ProductShape(197, 192, 192, "residual"), None),
    "fc1": (ProductShape(197, 768, 192, "table"), 1e-6),
    "fc2": (ProductShape(197, 192, 768, "residual"), None),
    "embed": (ProductShape(196, 192, 768, "stream", 196), None),
    "head": (ProductShape(1, 1000, 192, "float"), 1e-6),
}
FUSED = {  # what larger batches and other families add
    "norm": (ProductShape(788, 192, 768, "residual"), {"following": Following(Kind.INT8, 1e-6)}),
    "nibbles": (ProductShape(788, 192, 192, "residual"), {"following": Following(Kind.INT4, 1e-6)}),
    "sum": (ProductShape(196, 192, 192, "float"), {"following": Following(Kind.INT8, 1e-6, summed=True)}),
    "windows": (ProductShape(784, 576, 192, "codes"), {"gather": Gather(196, 196)}),
    "turned": (ProductShape(197, 576, 192, "turned"), {"turning": Turning(197, 3, 64), "norm_eps": 1e-6}),
}


@pytest.fixture(scope="module", params=sorted(MAJORS, key=lambda arch: int(arch[3:])))
def compiled(request) -> tuple[str, dict[str, CompiledKernel]]:
    arch = request.param
    builders = {
        f"{name}_{pair}": lambda name, s=shape, e=eps, w=widths: build_product(s, mma_for(*w, arch), norm_eps=e, name=name)
        for name, (shape, eps) in PRODUCTS.items()
        for pair, widths in WIDTHS.items()
    }
    builders |= {
        f"{name}_16": lambda name, s=shape, e=eps: build_product(
            replace(s, epilogue={"table": "act"}.get(s.epilogue, s.epilogue)), mma_for(Kind.FLOAT16, Kind.FLOAT16, arch),
            out=Kind.FLOAT16, norm_eps=e, act="gelu", name=name,
        )
        for name, (shape, eps) in PRODUCTS.items()
    }  # fmt: skip
    builders["attention_f16"] = lambda name: build_half_attention(CudaAttentionShape(1, 197, 3, 64), half_mma(arch), name=name)
    windows = CudaAttentionShape(64, 49, 3, 32, groups=64, patterns=9)
    builders["biased_f16"] = lambda name: build_half_attention(windows, half_mma(arch), name=name)
    builders["attention"] = lambda name: build_attention(CudaAttentionShape(1, 197, 3, 64), attention_mma(arch), name=name)
    builders["norm"] = lambda name: build_norm(197, 192, 1e-6, out=Kind.INT8, name=name)
    builders |= {
        f"{name}_{pair}": lambda name, s=shape, w=widths, m=more: build_product(s, mma_for(*w, arch), name=name, **m)
        for name, (shape, more) in FUSED.items()
        for pair, widths in WIDTHS.items()
    }
    builders["patches"] = lambda name: build_patches(1, 3, 224, 224, 16, name)
    builders["prefix"] = lambda name: build_prefix(1, 1, 197, 192, name)
    builders["take"] = lambda name: build_take(1, 197, 0, 192, name)
    nothing = ("out", Value("x", 1, 1, "float32"))
    launches = [
        Launch(name, build, {}, {}, nothing) for name, build in builders.items() if arch == WHOLE or ELSEWHERE.fullmatch(name)
    ]
    return arch, compile_kernels(launches, arch, MAJORS[arch])


def test_nothing_spills(compiled):
    arch, kernels = compiled
    for name, kernel in kernels.items():
        (used,) = usage(kernel.cubin).values()
        assert not used.spills, (arch, name, used)
        threads = kernel.kernel.block[0] * kernel.kernel.block[1]
        assert used.registers * threads <= 1 << 16 and kernel.kernel.shared_bytes <= 48 << 10, (arch, name)


def test_the_native_instruction_is_there(compiled):
    """s8 by 16832 (8816 on Turing), s4 by 16864 (8832) where the chip has it, else nibbles widened to s8; halves by 16816."""
    arch, kernels = compiled
    if arch == "sm_72":  # today's disassembler does not read it
        return
    s8, s4 = ("IMMA.8816.S8.S8", "IMMA.8832.S4.S4") if arch == "sm_75" else ("IMMA.16832.S8.S8", "IMMA.16864.S4.S4")
    for name, kernel in kernels.items():
        opcodes = {instruction.opcode.removesuffix(".SAT") for instruction in sass(kernel.cubin)}
        product = name.rpartition("_")[0] in {**PRODUCTS, **FUSED}
        if name.endswith("16"):
            wanted = {"HMMA.1688.F32" if arch == "sm_75" else "HMMA.16816.F32"}
            assert {op for op in opcodes if op.startswith("HMMA")} == wanted, (arch, name)
        elif product:
            native4 = name.endswith("_44") and arch not in ("sm_90", "sm_110")
            assert {op for op in opcodes if op.startswith("IMMA")} == {s4 if native4 else s8}, (arch, name)
            assert any(op.startswith("LDGSTS") for op in opcodes) == (arch != "sm_75"), (arch, name)
        if product or name == "attention":
            assert any(op.startswith("LDSM") for op in opcodes), (arch, name)
        assert not any(op.startswith(("LDL", "STL")) for op in opcodes), (arch, name)


def test_every_ptx_instruction_has_a_meaning(compiled):
    arch, kernels = compiled
    assert {name: found for name, kernel in kernels.items() if (found := unknown(parse(kernel.ptx)))} == {}, arch
