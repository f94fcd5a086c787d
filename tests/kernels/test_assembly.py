"""The compiled kernels hold the instructions that make them fast, and no calls into the C library."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import pytest

from lampq_tvm.kernels.attention import AttentionShape, build_attention
from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.isa.assembly import Assembled
from lampq_tvm.kernels.isa.sixteens import Sixteens
from lampq_tvm.kernels.layernorm import build_layernorm
from lampq_tvm.kernels.product import build_product
from lampq_tvm.kernels.shapes import EPILOGUES, ProductShape, round_up
from lampq_tvm.kernels.tiles import default_tiles
from tests.boards import ISAS
from tests.kernels.machine import assembly

SHAPE = ProductShape(197, 192, 192, "codes")
# Instructions that a register tile holds at least once for each accumulator.
STEPS = {
    ("vbmi", 8): ("vpdpbusd",),
    ("vbmi", 4): ("vpdpbusd",),
    ("vnni", 8): ("vpdpbusd",),
    ("vnni", 4): ("vpdpbusd",),
    ("avx2", 8): ("vpmaddwd",),
    ("avx2", 4): ("vpmaddubsw", "vpmaddwd"),
    ("i8mm", 8): ("smmla",),
    ("i8mm", 4): ("smmla",),
    ("dotprod", 8): ("sdot",),
    ("dotprod", 4): ("sdot",),
    ("neon", 8): ("smull|smull2", "smlal|smlal2", "sadalp"),
    ("neon", 4): ("mla", "sadalp"),
}
LIBM = r"\b(?:fmaf?|nearbyintf?|rintf?|roundf?|roundevenf?|sqrtf?|fminf?|fmaxf?)(?:@PLT)?$"


@functools.cache
def asm_of(isa: str, kind: str, bits: int) -> str:
    """Assembly of a product, an attention or a LayerNorm."""
    if kind == "product":
        return assembly(build_product(SHAPE, isa, bits, bits), isa)
    if kind == "attention":
        return assembly(build_attention(AttentionShape(1, 197, 3, 64), isa, bits), isa)
    return assembly(build_layernorm(197, 192, 1e-6, True, isa), isa)


def count(text: str, mnemonic: str) -> int:
    """How often an instruction stands in an assembly text."""
    return len(re.findall(rf"^\s+(?:{mnemonic})(?:\.\w+)?\s", text, re.MULTILINE))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("isa", ISAS)
def test_product_runs_on_the_steps_instructions(isa, bits):
    dot = dot_for(isa, bits, bits)
    tiles = default_tiles(SHAPE, dot)
    text = asm_of(isa, "product", bits)
    for mnemonic in STEPS[isa, bits]:
        assert count(text, mnemonic) >= dot.slots(tiles.rows, tiles.vectors), mnemonic


@pytest.mark.parametrize(
    ("isa", "bits"), [(isa, bits) for isa in ISAS for bits in (8, 6, 4) if isinstance(dot_for(isa, bits, bits), Assembled)]
)
def test_a_tile_in_assembly_holds_loads_and_multiplications_alone(isa, bits):
    dot, shape = dot_for(isa, bits, bits), replace(SHAPE, k=768)
    tiles, text = default_tiles(shape, dot), assembly(build_product(shape, isa, bits, bits), isa)
    bodies = re.findall(r"//APP(?:(?!//NO_APP).)*?:\n((?:(?!//NO_APP).)*?)\s+b\.ne", text, re.DOTALL)
    body, unroll = max(bodies, key=len), round_up(tiles.unroll, dot.step_block)
    vectors = 1 if isinstance(dot, Sixteens) else tiles.vectors  # whose weight vectors come one after the other
    loads = unroll * dot.loads(tiles.rows, vectors)
    assert count(body, "ld1") == loads
    assert len(body.split("\n")) == loads + unroll * dot.multiplies(tiles.rows, vectors) + 1  # and the counter


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("isa", ["vbmi", "vnni"])
def test_sums_stay_in_registers_while_they_are_added(isa, epilogue):
    """24 sums of 64 bytes are more than TVM's own stack takes, and a residual's stream may be its output."""
    shape = replace(SHAPE, k=768, epilogue=epilogue, period=197 if epilogue == "stream" else 0)
    tiles, text = default_tiles(shape, dot_for(isa, 8, 8)), assembly(build_product(shape, isa, 8, 8), isa)
    assert tiles.rows * tiles.vectors == 24
    blocks = re.split(r"^\.L\w+:$", text, flags=re.MULTILINE)
    body = max((re.split(r"^\s+j\w+\s", block, flags=re.MULTILINE)[0] for block in blocks), key=lambda b: count(b, "vpdpbusd"))
    assert count(body, "vpdpbusd") == 24 * tiles.unroll
    assert not re.findall(r"^\s+v\w+\s+%[xyz]mm\d+, -?\w*\(.*", body, re.MULTILINE)


@pytest.mark.parametrize("a_bits", [2, 4, 6])
def test_weights_of_two_bits_are_looked_up(a_bits):
    dot, shape = dot_for("neon", 2, a_bits), replace(SHAPE, k=768)
    tiles, text = default_tiles(shape, dot), assembly(build_product(shape, "neon", 2, a_bits), "neon")
    loops = re.findall(r":\n((?:(?!\n\S).)*?\btbl\b.*?)\s+b\.ne", text, re.DOTALL)
    body, unroll = max(loops, key=len), round_up(tiles.unroll, dot.step_block)
    found, blocks = tiles.rows * tiles.vectors * dot.lanes // 16, unroll // dot.step_block
    assert count(body, "tbl") == unroll * found
    assert count(body, "add") == (unroll - blocks) * found
    assert count(body, "ssubw|ssubw2") == 2 * blocks * found
    assert count(body, "ld1") == unroll * dot.loads(tiles.rows, tiles.vectors) // 2


@pytest.mark.parametrize("isa", ISAS)
def test_attention_runs_on_the_steps_instructions(isa):
    multiplies = "|".join({mnemonic for bits in (8, 4) for mnemonic in STEPS[isa, bits]})
    for bits in (8, 4):
        assert count(asm_of(isa, "attention", bits), multiplies) >= 12


@pytest.mark.parametrize("isa", ISAS)
def test_layernorm_is_vector_code(isa):
    text = asm_of(isa, "layernorm", 8)
    wide = {"vbmi": "zmm", "vnni": "zmm", "avx2": "ymm"}.get(isa)
    fused = re.findall(r"^\s+vfn?m(?:add|sub)\d+ps\s.*", text, re.MULTILINE) if wide else re.findall(r"\bfml[as]\b.*4s", text)
    assert len([line for line in fused if wide is None or wide in line]) >= 3
    assert count(text, "vroundps|vrndscaleps|frinti|frintn|fcvtns|vcvtps2dq")


@pytest.mark.parametrize("kind", ["product", "attention", "layernorm"])
@pytest.mark.parametrize("isa", ISAS)
def test_no_call_into_the_c_library(isa, kind):
    calls = re.findall(r"^\s+(?:callq?|bl|b|jmp)\s+(\S+)", asm_of(isa, kind, 8), re.MULTILINE)
    assert not [name for name in calls if re.search(LIBM, name)]
