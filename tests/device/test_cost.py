"""The estimate of a core's cycles: a bound by the busiest unit, a little above it, and additive over blocks."""

import subprocess

import pytest

from lampq_tvm.device.classes import CLASSES
from lampq_tvm.device.cost import Core, core_of
from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.device.native_core import NativeCore
from lampq_tvm.targets.board import boards

CORES = sorted({board.cpu.core for board in boards().values() if board.cpu} - {None})


LOOP = """
.arch armv8.2-a+dotprod
.globl __tvm_ffi_main
__tvm_ffi_main:
    mov x9, #1000
1:  sdot v0.4s, v1.16b, v2.16b
    sdot v3.4s, v1.16b, v2.16b
    sdot v4.4s, v1.16b, v2.16b
    subs x9, x9, #1
    b.ne 1b
    mov w0, wzr
    ret
"""


def classes(**counts: int) -> tuple[int, ...]:
    return tuple(counts.get(name, 0) for name in CLASSES)


def core(name: str) -> Core:
    found = core_of(next(board for board in boards().values() if board.cpu and board.cpu.core == name))
    assert found is not None and found.name == name
    return found


def test_the_four_cores_have_figures_and_a_core_without_a_guide_has_none():
    assert set(CORES) == {"cortex-a72", "cortex-a76", "cortex-a78ae", "neoverse-v3ae"}
    assert core_of(boards()["jetson-agx-xavier"]) is None
    assert core_of(None) is None


@pytest.mark.parametrize("name", CORES)
def test_no_block_is_faster_than_its_busiest_unit(name):
    played = core(name)
    for counts in ({"vector": 40}, {"load_vectors": 6, "multiply_long": 24, "branch": 1}, {"integer": 12, "store": 3}):
        block = classes(**counts)
        bound = max(sum(n * played.pressure[i] for i, n in enumerate(block)))
        assert bound <= played.cycles(block) <= 1.4 * bound


def test_known_figures():
    a76, v3ae = core("cortex-a76"), core("neoverse-v3ae")
    # 32 dot products: 16 cycles of two vector pipes, 8 of four instructions a cycle.
    assert a76.cycles(classes(dot=32)) == pytest.approx((16**4 + 8**4) ** 0.25)
    assert v3ae.cycles(classes(dot=32)) == pytest.approx((8**4 + 3.2**4) ** 0.25)


def test_products_have_one_pipe_and_additions_two():
    a72 = core("cortex-a72")
    assert a72.cycles(classes(multiply_long=8)) > a72.cycles(classes(vector=8))


def test_the_counter_adds_up_what_this_says_of_each_block(pi5, tmp_path):
    source, library = tmp_path / "loop.s", tmp_path / "loop.so"
    source.write_text(LOOP)
    subprocess.run([cross_compiler("aarch64"), "-shared", "-nostdlib", "-o", library, source], check=True)
    native = NativeCore("raspberry-pi-5")
    counted = native.count(library, [], [], blocks=True)
    loop = next(block for block in counted.blocks if block.executions == 999)  # its first time is part of another block
    assert loop.classes == classes(dot=3, integer=1, branch=1)
    expected = sum(block.executions * native.figures.cycles(block.classes) for block in counted.blocks)
    assert counted.cycles == pytest.approx(expected, rel=1e-3, abs=10)
    assert NativeCore("jetson-agx-xavier").count(library, [], []).cycles is None


@pytest.mark.parametrize(
    "change", [{"uses": {"dott": {"vector": 1}}}, {"uses": {"dot": {"vectors": 1}}}, {"units": {"vector": 2}}]
)
def test_a_misspelt_file_is_refused(change):
    good = {"name": "x", "source": "a guide", "units": {"issue": 2, "vector": 1}, "uses": {"dot": {"vector": 1}}}
    assert Core.model_validate(good).digest != Core.model_validate({**good, "units": {"issue": 3, "vector": 1}}).digest
    with pytest.raises(ValueError, match="unknown classes or units"):
        Core.model_validate({**good, **change})
