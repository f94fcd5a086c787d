"""CPU levels as data: what each one needs, and that a file of data and a file of instructions make another one."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from lampq_tvm.kernels import isa as instructions
from lampq_tvm.kernels.attention import AttentionShape, attention_tiles, build_attention
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.product import build_product
from lampq_tvm.kernels.shapes import EPILOGUES, ProductShape
from lampq_tvm.levels import CPU_ARCHES, CPU_LEVELS, best_level, cpu, levels_of
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.runtime.runner import Runner
from tests.boards import runs_here, target_of
from tests.compiler.networks import artifact, first_difference, images, quantized
from tests.kernels.machine import Machine, assembly
from tests.kernels.products import Product, product_case
from tests.kernels.test_attention import Attention, attention_case

NAME = "avx2_small"
DATA = f'''"""AVX2 with the register tiles of a smaller core, and fences before and after a thread multiplies."""

from dataclasses import replace

from lampq_tvm.levels.cpu.avx2 import AVX2
from lampq_tvm.levels.level import add_level

add_level(
    replace(
        AVX2,
        name="{NAME}",
        rank=-1,
        accumulators=5,
        attention_rows=3,
        attention_vectors=1,
        enter=("llvm.x86.sse2.mfence",),
        leave=("llvm.x86.sse2.lfence",),
    )
)
'''
INSTRUCTIONS = f'''"""AVX2's instructions."""

from lampq_tvm.kernels.isa.avx2 import Avx2Level
from lampq_tvm.kernels.isa.level import emits


@emits("{NAME}")
class SmallLevel(Avx2Level):
    """A smaller core."""
'''
on_avx2 = pytest.mark.skipif(not runs_here("avx2"), reason="this CPU has no avx2")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A level that two new files make, in the folders of data and of instructions."""
    with pytest.MonkeyPatch.context() as patch:
        for package, text in ((cpu, DATA), (instructions, INSTRUCTIONS)):
            folder = tmp_path_factory.mktemp("level")
            (folder / f"{NAME}.py").write_text(text)
            patch.setattr(package, "__path__", [*package.__path__, str(folder)])
        importlib.invalidate_caches()
        yield NAME
    for registry, package in ((CPU_LEVELS, cpu), (LEVELS, instructions)):
        registry.forget(NAME)
        sys.modules.pop(f"{package.__name__}.{NAME}", None)


def test_every_level_has_its_data_and_its_instructions():
    assert set(CPU_LEVELS) == set(LEVELS) >= {"vbmi", "vnni", "avx2", "i8mm", "dotprod", "neon"}
    for name in CPU_LEVELS:
        assert LEVELS[name].data is CPU_LEVELS[name] and CPU_LEVELS[name].name == name


@pytest.mark.parametrize("arch", list(CPU_ARCHES))
def test_a_better_level_needs_more(arch):
    best_first = levels_of(CPU_ARCHES[arch])
    assert len({level.rank for level in best_first}) == len(best_first)
    for better, worse in itertools.pairwise(best_first):
        assert set(better.features) > set(worse.features) and best_level(better.arch, better.features) is better
        assert better.missing(worse.features) == tuple(sorted(set(better.features) - set(worse.features)))
        assert best_level(worse.arch, worse.features) is worse


def test_a_machine_without_the_least_level_has_none():
    assert best_level(CPU_ARCHES["x86"], ("sse2", "fma")) is None
    assert best_level(CPU_ARCHES["aarch64"], ()) is CPU_LEVELS["neon"]  # every Armv8 core has NEON, whatever /proc/cpuinfo says


def test_levels_are_read_without_a_compiler():
    """A board that only runs artifacts asks for a level's features: no TVM, no numpy."""
    code = "import sys, lampq_tvm.levels as l; assert l.CPU_LEVELS['neon'].features; print({'tvm', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@on_avx2
def test_two_files_make_a_level(small):
    """Kernels of every kind by the new level's tiles are equal to the oracle in every bit."""
    assert small in CPU_LEVELS and small in LEVELS and LEVELS[small].data.accumulators == 5
    shape = AttentionShape(2, 17, 2, 24)
    assert attention_tiles(shape, small, 8) != attention_tiles(shape, "avx2", 8)
    products = [ProductShape(28, 40, 33, epilogue, 7 * (epilogue == "stream")) for epilogue in EPILOGUES]
    cases = [product_case(Product(each, w, a), small) for each in products for w, a in ((8, 8), (4, 8), (2, 3))]
    Machine(small, None).check([*cases, attention_case(Attention(shape), small)])


@on_avx2
def test_each_thread_enters_and_leaves(small):
    kernels = {
        "product": lambda isa: build_product(ProductShape(33, 40, 33, "codes"), isa, 8, 8),
        "attention": lambda isa: build_attention(AttentionShape(2, 17, 2, 24), isa, 8),
    }
    for name, build in kernels.items():
        text, plain = (assembly(build(isa), isa) for isa in (small, "avx2"))
        regions = 1 if name == "product" else 2  # keys and values are packed in a region of their own, which multiplies too
        assert (text.count("mfence"), text.count("lfence")) == (regions, regions), name
        assert "fence" not in plain, name


@on_avx2
def test_a_network_for_the_new_level_equals_the_reference(small):
    qm, pixels = quantized("one block", "mixed"), images("one block", 3)
    wanted = run_reference(qm, pixels, values=True)
    runner = Runner(artifact(qm, target_of(small), 2), threads=2)
    assert first_difference(qm, runner.trace(pixels), wanted) is None
    assert np.array_equal(runner(pixels), wanted[qm.output])
