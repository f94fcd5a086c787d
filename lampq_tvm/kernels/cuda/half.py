"""Float16 values in kernels: conversions, and multiply-adds of them summed in float32.

Two values are one word, the first in its low half, so a row is a row of words as one of codes is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import WARP, at, f32, i32, ptx, put, registers, u32
from lampq_tvm.kernels.cuda.mma import Mma

LARGEST = 65504.0
LOG2_E = 1.4426950408889634
FUNCTIONS = {
    "lampq_halves": """
__forceinline__ __device__ uint lampq_halves(float a, float b) {
  uint word;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));
#else
  ushort low, high;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(low) : "f"(a));
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(high) : "f"(b));
  word = (uint)low | ((uint)high << 16);
#endif
  return word;
}
""",
    "lampq_half": """
__forceinline__ __device__ float lampq_half(uint word, int high) {
  float value;
  ushort bits = (ushort)(word >> (16 * high));
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
""",
    "lampq_exp2": """
__forceinline__ __device__ float lampq_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
""",
}


def two_halves(values: Sequence[Expr]) -> Expr:
    """Two float32 values, clamped and rounded to float16, as a word."""
    clamped = [T.min(T.max(value, f32(-LARGEST)), f32(LARGEST)) for value in values]
    return _call("lampq_halves", "uint32", *clamped)


def half_of(word: Expr, which: int) -> Expr:
    """One of a word's two values as float32."""
    return _call("lampq_half", "float32", word, i32(which))


def exp2(x: Expr) -> Expr:
    """2^x as the GPU approximates it, within 2^-22 of it."""
    return _call("lampq_exp2", "float32", x)


def activate(kind: str, x: Expr) -> Expr:
    """An activation function of `quantize.constants.UNARY`, in float32; x must be cheap to repeat."""
    match kind:
        case "gelu":
            erf = tirx.call_pure_extern("float32", "erff", x * f32(0.5**0.5))
            return x * f32(0.5) * (f32(1) + erf)
        case "gelu_tanh":
            return _swish(x, x * T.fma(x * x, f32(0.044715), f32(1)), 2 * (2 / 3.141592653589793) ** 0.5)
        case "quick_gelu":
            return _swish(x, x, 1.702)
        case "silu":
            return _swish(x, x, 1.0)
        case "relu":
            return T.max(x, f32(0))
    raise KeyError(kind)


def _swish(x: Expr, u: Expr, factor: float) -> Expr:
    """x / (1 + exp(-factor u))."""
    return x / (f32(1) + exp2(u * f32(-factor * LOG2_E)))


@dataclass(frozen=True)
class HalfMma(Mma):
    """Float16 operands on tensor cores (sm_80 and later)."""

    sums: ClassVar[str] = "float32"

    def multiply(self, acc: Any, c: int, a: Any, i: int, b: Any, j: int, lane: Expr, unsigned: bool = False) -> None:
        """acc[c..c+3] += a[i..i+3] times b[j], b[j+1]."""
        out, rows = [acc[c + x] for x in range(4)], [a[i + x] for x in range(4)]
        ptx("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", *out, *rows, b[j], b[j + 1], *out)

    def load_turned(self, b: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """b[first..first+3]: 16 rows of K by 16 columns that lie in memory row by row, as `load_b` would bring columns."""
        word = row + lane % 16 * pitch + lane // 16 * 4
        name = "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"
        ptx(name, *(b[first + i] for i in range(4)), at(memory, word))


@dataclass(frozen=True)
class TuringHalfMma(HalfMma):
    """Without asynchronous copies and with half of the depth (sm_75)."""

    asynchronous: ClassVar[bool] = False

    def multiply(self, acc: Any, c: int, a: Any, i: int, b: Any, j: int, lane: Expr, unsigned: bool = False) -> None:
        """acc[c..c+3] += a[i..i+3] times b[j], b[j+1], 4 words of K at a time."""
        out = [acc[c + x] for x in range(4)]
        for part in range(2):
            rows = [a[i + 2 * part], a[i + 2 * part + 1]]
            ptx("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", *out, *rows, b[j + part], *out)


@dataclass(frozen=True)
class FmaMma(HalfMma):
    """The registers and sums of `HalfMma` by plain multiply-adds: lanes of a row and of a column pass their words round.

    For chips whose tensor cores have no `mma.sync` of this form (sm_72), or that have none (sm_53).
    """

    asynchronous: ClassVar[bool] = False
    large: ClassVar[bool] = False

    def load_a(self, a: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """a[first..first+3]: 16 rows of 8 words."""
        for i in range(4):
            put(a, first + i, memory[row + (i % 2 * 8 + lane // 4) * pitch + i // 2 * 4 + lane % 4])

    def load_b(self, b: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """Two words for each 8 of 16 rows."""
        for i in range(4):
            put(b, first + i, memory[row + (i // 2 * 8 + lane // 4) * pitch + i % 2 * 4 + lane % 4])

    def load_turned(self, b: Any, first: int, memory: Any, row: Expr, pitch: int, lane: Expr) -> None:
        """b[first..first+3] from 16 rows of K by 16 columns."""
        for i in range(4):
            word = row + (i % 2 * 8 + lane % 4 * 2) * pitch + i // 2 * 4 + lane // 8
            pick = T.Cast("uint32", lane // 4 % 2) * u32(0x2222) + u32(0x5410)
            ptx("prmt.b32", b[first + i], memory[word], memory[word + pitch], pick)

    def multiply(self, acc: Any, c: int, a: Any, i: int, b: Any, j: int, lane: Expr, unsigned: bool = False) -> None:
        """acc[c..c+3] += a[i..i+3] times b[j], b[j+1]."""
        rows, columns = registers(2), registers(2)
        for part in range(2):
            for word in range(4):
                for x in range(2):
                    put(columns, x, _from(b[j + part], (lane % 4 * 2 + x) * 4 + word))
                    put(rows, x, _from(a[i + x + 2 * part], lane // 4 * 4 + word))
                for which in range(2):
                    for half in range(2):
                        for x in range(2):
                            place = c + 2 * half + x
                            put(acc, place, T.fma(half_of(rows[half], which), half_of(columns[x], which), acc[place]))


def _from(word: Expr, lane: Expr) -> Expr:
    """The word of another lane."""
    return T.tvm_warp_shuffle(u32(0xFFFFFFFF), word, lane, i32(WARP), i32(WARP))


def _call(name: str, dtype: str, *args: Expr) -> Expr:
    return T.cuda.func_call(name, *args, source_code=FUNCTIONS[name], return_type=dtype)
