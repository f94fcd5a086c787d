"""AVX-512 VNNI: `vpdpbusd` adds four products of unsigned by signed bytes into each int32 lane, without saturation.

LLVM 22 declares the intrinsic with byte vectors for both factors (older ones took int32 vectors).
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import llvm, splat
from lampq_tvm.kernels.isa.dot import Dot, Simple, Tile, words
from lampq_tvm.kernels.isa.level import emits
from lampq_tvm.kernels.isa.x86 import X86Level

MODE = 4  # of rounding: as the thread is set, which is to nearest even


class Vnni(Simple):
    """Sixteen channels a vector; a row's inputs are repeated from memory by the instruction itself."""

    def loads(self, rows: int, vectors: int) -> float:
        """Instructions of a step besides the multiply-adds."""
        return rows + vectors

    def step(self, tile: Tile, k: Expr) -> None:
        """Write one step along K."""
        weights = [vector.read(k, 0, 64) for vector in tile.weights]
        for row, word in enumerate(words(tile, k)):
            inputs = splat(word, 16, "int8x64")
            for vector, weight in enumerate(weights):
                slot = row * tile.vectors + vector
                value = llvm("llvm.x86.avx512.vpdpbusd.512", "int32x16", tile.acc.load(slot), inputs, weight)
                tile.acc.store(slot, value)


@emits("vnni")
class VnniLevel(X86Level):
    """AVX-512 with VNNI."""

    def dot(self, w_peak: int, a_bits: int, side: int = 1) -> Dot:
        """The same instruction for all widths: fewer bits are not faster here."""
        level = self.data
        return Vnni("vnni_u8s8", level.lanes, level.group, level.operand, shift=128, level=level)

    def to_ints(self, value: Expr) -> Expr:
        """rne(v) as int32; what leaves it becomes its lowest number."""
        nothing, everywhere = T.broadcast(tirx.const(0, "int32"), 16), tirx.const(-1, "int16")
        return llvm("llvm.x86.avx512.mask.cvtps2dq.512", "int32x16", value, nothing, everywhere, tirx.const(MODE, "int32"))
