"""Multiply-adds of sm_72, which has neither `ldmatrix` nor `mma.sync` for integers.

Products use `wmma`, whose fragments the manual leaves open: sums go through shared memory into the registers' order of
`mma.Mma`. Attention, which needs that order in the middle, multiplies four bytes at a time (`dp4a`) on words that lanes
exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import WARP, at, i32, ptx, put, registers, u32
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, Mma

PAD = 8  # words between rows of sums, each at a multiple of 32 bytes as a fragment wants it
FUNCTIONS = {
    "lampq_wmma_load_a": """
__forceinline__ __device__ void lampq_wmma_load_a(uint* r, uint m, int pitch) {
  asm volatile("wmma.load.a.sync.aligned.row.m16n16k16.shared.s8 {%0, %1}, [%2], %3;"
               : "=r"(r[0]), "=r"(r[1]) : "r"(m), "r"(pitch) : "memory");
}
""",
    "lampq_wmma_load_b": """
__forceinline__ __device__ void lampq_wmma_load_b(uint* r, uint m, int pitch) {
  asm volatile("wmma.load.b.sync.aligned.col.m16n16k16.shared.s8 {%0, %1}, [%2], %3;"
               : "=r"(r[0]), "=r"(r[1]) : "r"(m), "r"(pitch) : "memory");
}
""",
    "lampq_wmma": """
__forceinline__ __device__ void lampq_wmma(uint* c, const uint* a, const uint* b) {
  asm volatile("wmma.mma.sync.aligned.row.col.m16n16k16.s32.s8.s8.s32 {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9}, {%10, %11}, "
               "{%0, %1, %2, %3, %4, %5, %6, %7};"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]), "+r"(c[4]), "+r"(c[5]), "+r"(c[6]), "+r"(c[7])
               : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(b[1]));
}
""",
    "lampq_wmma_store": """
__forceinline__ __device__ void lampq_wmma_store(const uint* c, uint m, int pitch) {
  asm volatile("wmma.store.d.sync.aligned.row.m16n16k16.shared.s32 [%8], {%0, %1, %2, %3, %4, %5, %6, %7}, %9;"
               :: "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4]), "r"(c[5]), "r"(c[6]), "r"(c[7]), "r"(m), "r"(pitch)
               : "memory");
}
""",
    "lampq_wmma_half_a": """
__forceinline__ __device__ void lampq_wmma_half_a(uint* r, uint m, int pitch) {
  asm volatile("wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]), "=r"(r[4]), "=r"(r[5]), "=r"(r[6]), "=r"(r[7])
               : "r"(m), "r"(pitch) : "memory");
}
""",
    "lampq_wmma_half_b": """
__forceinline__ __device__ void lampq_wmma_half_b(uint* r, uint m, int pitch) {
  asm volatile("wmma.load.b.sync.aligned.col.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]), "=r"(r[4]), "=r"(r[5]), "=r"(r[6]), "=r"(r[7])
               : "r"(m), "r"(pitch) : "memory");
}
""",
    "lampq_wmma_half": """
__forceinline__ __device__ void lampq_wmma_half(float* c, const uint* a, const uint* b) {
  asm volatile("wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, "
               "{%8, %9, %10, %11, %12, %13, %14, %15}, {%16, %17, %18, %19, %20, %21, %22, %23}, "
               "{%0, %1, %2, %3, %4, %5, %6, %7};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(a[4]), "r"(a[5]), "r"(a[6]), "r"(a[7]),
                 "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(b[4]), "r"(b[5]), "r"(b[6]), "r"(b[7]));
}
""",
    "lampq_wmma_half_store": """
__forceinline__ __device__ void lampq_wmma_half_store(const float* c, uint m, int pitch) {
  asm volatile("wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%8], {%0, %1, %2, %3, %4, %5, %6, %7}, %9;"
               :: "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]), "f"(c[4]), "f"(c[5]), "f"(c[6]), "f"(c[7]), "r"(m), "r"(pitch)
               : "memory");
}
""",
}


@dataclass(frozen=True)
class WmmaMma(Mma):
    """16 x 16 sums over 16 bytes of K by `wmma`; a call of `multiply` at an even tile of columns serves the next one too."""

    asynchronous: ClassVar[bool] = False
    store: ClassVar[str] = "lampq_wmma_store"

    def load_a(self, a: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """Two fragments of 16 rows by 16 bytes."""
        for half in range(2):
            _call("lampq_wmma_load_a", at(a, first + 2 * half), _place(memory, row + 4 * half), i32(4 * pitch))

    def load_b(self, b: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """Two fragments of 16 columns by 16 bytes."""
        for half in range(2):
            _call("lampq_wmma_load_b", at(b, first + 2 * half), _place(memory, row + 4 * half), i32(4 * pitch))

    def multiply(self, acc: Any, c: int, a: Any, i: int, b: Any, j: int, lane: Expr, unsigned: bool = False) -> None:
        """acc[c..c+7] += a times b; nothing at an odd tile."""
        if j % 4 == 0:
            for half in range(2):
                _call("lampq_wmma", at(acc, c), at(a, i + 2 * half), at(b, j + 2 * half))

    def scratch_words(self, rows: int, columns: int) -> int:
        """Words of shared memory that a warp needs to settle a tile."""
        return rows * (columns + PAD)

    def settle(self, acc: Any, memory: Any, word: Expr, rows: int, columns: int, lane: Expr) -> None:
        """Through shared memory, from word `word` on, into the order of `Mma`."""
        pitch, across = columns + PAD, columns // COLUMNS
        for i in range(rows // ROWS):
            for j in range(0, across, 2):
                place = _place(memory, word + i * ROWS * pitch + j * COLUMNS)
                _call(self.store, at(acc, 4 * (i * across + j)), place, i32(pitch))
        ptx("bar.warp.sync", u32(0xFFFFFFFF))
        for i in range(rows // ROWS):
            for j in range(across):
                for x in range(4):
                    row, column = i * ROWS + x // 2 * 8 + lane // 4, j * COLUMNS + lane % 4 * 2 + x % 2
                    found = memory[word + row * pitch + column]
                    found = T.reinterpret(found, dtype=self.sums) if self.sums != "uint32" else found
                    put(acc, 4 * (i * across + j) + x, found)


@dataclass(frozen=True)
class WmmaHalfMma(WmmaMma):
    """The same for float16 values, summed in float32; a fragment holds every value twice."""

    sums: ClassVar[str] = "float32"
    store: ClassVar[str] = "lampq_wmma_half_store"
    pad: ClassVar[int] = 8  # a fragment's rows of 32 bytes lie at multiples of as many
    a_registers: ClassVar[int] = 8
    b_registers: ClassVar[int] = 4

    def load_a(self, a: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """A fragment of 16 rows by 16 values."""
        _call("lampq_wmma_half_a", at(a, first), _place(memory, row), i32(2 * pitch))

    def load_b(self, b: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """A fragment of 16 columns by 16 values."""
        _call("lampq_wmma_half_b", at(b, first), _place(memory, row), i32(2 * pitch))

    def multiply(self, acc: Any, c: int, a: Any, i: int, b: Any, j: int, lane: Expr, unsigned: bool = False) -> None:
        """acc[c..c+7] += a times b; nothing at an odd tile."""
        if j % 8 == 0:
            _call("lampq_wmma_half", at(acc, c), at(a, i), at(b, j))


@dataclass(frozen=True)
class Dp4aMma(Mma):
    """The registers and sums of `Mma` by `dp4a`: lanes of a row and of a column pass their words round."""

    asynchronous: ClassVar[bool] = False

    def load_b(self, b: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """Two words for each 8 of 16 rows, as `ldmatrix` would bring them."""
        for i in range(4):
            put(b, first + i, memory[row + (i // 2 * 8 + lane // 4) * pitch + i % 2 * 4 + lane % 4])

    def multiply(self, acc: Any, c: int, a: Any, i: int, b: Any, j: int, lane: Expr, unsigned: bool = False) -> None:
        """acc[c..c+3] += a[i..i+3] times b[j], b[j+1]."""
        kind = "dp4a.u32.s32" if unsigned else "dp4a.s32.s32"
        sums = registers(4, "int32")
        for x in range(4):
            put(sums, x, T.reinterpret(acc[c + x], dtype="int32"))
        for part in range(2):
            for word in range(4):
                columns = [_from(b[j + part], (lane % 4 * 2 + x) * 4 + word) for x in range(2)]
                for half in range(2):
                    row = _from(a[i + half + 2 * part], lane // 4 * 4 + word)
                    for x in range(2):
                        ptx(kind, sums[2 * half + x], _as(row, unsigned), _as(columns[x], False), sums[2 * half + x])
        for x in range(4):
            put(acc, c + x, T.reinterpret(sums[x], dtype="uint32"))


def _as(word: Expr, unsigned: bool) -> Expr:
    return word if unsigned else T.reinterpret(word, dtype="int32")


def _from(word: Expr, lane: Expr) -> Expr:
    """The word of another lane."""
    return T.tvm_warp_shuffle(u32(0xFFFFFFFF), word, lane, i32(WARP), i32(WARP))


def _call(name: str, *args: Expr) -> None:
    T.evaluate(T.cuda.func_call(name, *args, source_code=FUNCTIONS[name], return_type="void"))


def _place(memory: Any, word: Expr) -> Expr:
    return T.cuda.cvta_generic_to_shared(at(memory, word))
