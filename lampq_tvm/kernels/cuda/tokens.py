"""What stands before the blocks and after them: patches of the image, prefix tokens, pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass

from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import WARP, CudaKernel, argument, codes_of, f32, launch, put, registers, u32, when
from lampq_tvm.kernels.cuda.epilogue import HALF, packed
from lampq_tvm.kernels.cuda.half import two_halves
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.shapes import round_up

WARPS = 8


def elementwise(name: str, items: int, declare: Callable[[], Callable[[Expr], None]]) -> CudaKernel:
    """A kernel of one thread an item: `declare` names its buffers and returns what a thread does with its item."""
    grid = (-(-items // (WARP * WARPS)), 1, 1)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            work = declare()
            with launch(grid, WARPS) as threads:
                item = threads.block[0] * threads.count + threads.index
                with when(item < items if items % threads.count else None):
                    work(item)
        func = builder.get()
    return CudaKernel(func, grid, (WARP, WARPS, 1))


def build_patches(
    batch: int, channels: int, height: int, width: int, patch: int, name: str = "patches", bits: int = 8
) -> CudaKernel:
    """Pixels to rows of codes: image [B, C, H, W] uint8, out [B * patches, words] uint32, k in the order channel, row, column.

    A code is pixel - 128, in a byte or (bits 16) a float16 value; what lies beyond K holds the row's last code.
    """
    k, down, across = channels * patch * patch, height // patch, width // patch
    per = 32 // bits
    words = round_up(k, 4 * per) // per

    def declare() -> Callable[[Expr], None]:
        image = argument("image", (batch, channels, height, width), "uint8")
        out = argument("out", (batch * down * across, words), "uint32")

        def work(item: Expr) -> None:
            row, word = item // words, item % words
            b, y, x = row // (down * across), row // across % down, row % across
            pixels = []
            for i in range(per):
                at = T.min(word * per + i, k - 1)
                line, column = y * patch + at // patch % patch, x * patch + at % patch
                pixels.append(image[b, at // (patch * patch), line, column])
            if bits == 16:
                put(out, (row, word), two_halves([T.Cast("float32", pixel) - f32(128) for pixel in pixels]))
                return
            packed = T.Cast("uint32", pixels[0])
            for i, pixel in enumerate(pixels[1:], 1):
                packed = T.bitwise_or(packed, T.shift_left(T.Cast("uint32", pixel), u32(8 * i)))
            put(out, (row, word), T.bitwise_xor(packed, u32(0x80808080)))

        return work

    return elementwise(name, batch * down * across * words, declare)


def build_prefix(batch: int, prefix: int, tokens: int, channels: int, name: str = "prefix") -> CudaKernel:
    """Prefix rows into each image of a stream: prefix [P, C] f32, out [B * tokens, C] f32, the other rows untouched."""

    def declare() -> Callable[[Expr], None]:
        rows = argument("prefix", (prefix, channels), "float32")
        out = argument("out", (batch * tokens, channels), "float32")

        def work(item: Expr) -> None:
            row, channel = item // channels, item % channels
            put(out, (row // prefix * tokens + row % prefix, channel), rows[row % prefix, channel])

        return work

    return elementwise(name, batch * prefix * channels, declare)


def build_mean(batch: int, tokens: int, start: int, channels: int, name: str = "mean") -> CudaKernel:
    """Tokens `start`.. added in their order, times fl(1/n): x [B * tokens, C] f32, inv [1] f32, out [B, C] f32."""

    def declare() -> Callable[[Expr], None]:
        x = argument("x", (batch * tokens, channels), "float32")
        inv = argument("inv", (1,), "float32")
        out = argument("out", (batch, channels), "float32")

        def work(item: Expr) -> None:
            b, channel = item // channels, item % channels
            total = registers(1, "float32")
            put(total, 0, x[b * tokens + start, channel])
            with T.serial(start + 1, tokens) as t:
                put(total, 0, total[0] + x[b * tokens + t, channel])
            put(out, (b, channel), total[0] * inv[0])

        return work

    return elementwise(name, batch * channels, declare)


def build_take(batch: int, tokens: int, index: int, channels: int, name: str = "take") -> CudaKernel:
    """One token of each image: x [B * tokens, C] f32, out [B, C] f32."""

    def declare() -> Callable[[Expr], None]:
        x, out = argument("x", (batch * tokens, channels), "float32"), argument("out", (batch, channels), "float32")

        def work(item: Expr) -> None:
            put(out, (item // channels, item % channels), x[item // channels * tokens + index, item % channels])

        return work

    return elementwise(name, batch * channels, declare)


def build_to_codes(rows: int, channels: int, bits: int, name: str = "codes") -> CudaKernel:
    """Floats to codes: x [rows, C] f32, affine [2] f32 (1/s, z), range [2] f32 to sat(rne(fma(x, 1/s, z))), out [rows, words]
    uint32; at 16 bits to float16 values, without a range. What lies beyond C holds the row's last code.
    """
    words, per = row_words(channels, bits), 32 // bits

    def declare() -> Callable[[Expr], None]:
        x, affine = argument("x", (rows, channels), "float32"), argument("affine", (2,), "float32")
        bounds = argument("range", (2,), "float32") if bits < HALF else None
        out = argument("out", (rows, words), "uint32")

        def work(item: Expr) -> None:
            row, word = item // words, item % words
            values = [x[row, T.min(word * per + i, channels - 1)] for i in range(per)]
            (codes,) = packed([T.fma(value, affine[0], affine[1]) for value in values], bounds, bits)
            put(out, (row, word), codes)

        return work

    return elementwise(name, rows * words, declare)


@dataclass(frozen=True)
class GateShape:
    """What a gating kernel is built for.

    Attributes:
        rows: of both inputs.
        gates, values: columns of g and of x.
        gate_at, value_at: the first that is taken, of `width`.
        bits: of codes made at once (16: float16 values); 32 for float32.
    """

    rows: int
    gates: int
    values: int
    gate_at: int
    value_at: int
    width: int
    bits: int = 32

    @property
    def key(self) -> str:
        """Short text that names the shape."""
        return "_".join(map(str, astuple(self)))


def build_gate(s: GateShape, name: str = "gate") -> CudaKernel:
    """y = fl(table[sat(rne(g)) + 128] * x) of columns of g [rows, gates] and x [rows, values] f32; table [256] f32.

    out is y [rows, width] f32, or its codes [rows, words] uint32 as `build_to_codes` makes them, with its affine and range.
    """
    coded = s.bits <= HALF
    words, per = (row_words(s.width, s.bits), 32 // s.bits) if coded else (s.width, 1)

    def declare() -> Callable[[Expr], None]:
        g, x = argument("g", (s.rows, s.gates), "float32"), argument("x", (s.rows, s.values), "float32")
        table = argument("table", (256,), "float32")
        affine = argument("affine", (2,), "float32") if coded else None
        bounds = argument("range", (2,), "float32") if s.bits < HALF else None
        out = argument("out", (s.rows, words), "uint32" if coded else "float32")

        def gated(row: Expr, channel: Expr) -> Expr:
            code = T.bitwise_and(codes_of(g[row, s.gate_at + channel], f32(-128), f32(127)), u32(255))
            return table[T.Cast("int32", T.bitwise_xor(code, u32(128)))] * x[row, s.value_at + channel]

        def work(item: Expr) -> None:
            row, word = item // words, item % words
            values = [gated(row, T.min(word * per + i, s.width - 1)) for i in range(per)]
            if affine is not None:
                values = packed([T.fma(value, affine[0], affine[1]) for value in values], bounds, s.bits)
            put(out, (row, word), values[0])

        return work

    return elementwise(name, s.rows * words, declare)


def build_sum(rows: int, channels: int, half: bool, name: str = "add") -> CudaKernel:
    """fl(a + b), or fl(fl(a + b) * 0.5) for two heads: a, b, out [rows, C] f32."""

    def declare() -> Callable[[Expr], None]:
        a, b, out = (argument(letter, (rows, channels), "float32") for letter in ("a", "b", "out"))

        def work(item: Expr) -> None:
            total = a[item // channels, item % channels] + b[item // channels, item % channels]
            put(out, (item // channels, item % channels), total * f32(0.5) if half else total)

        return work

    return elementwise(name, rows * channels, declare)
