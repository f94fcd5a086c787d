"""What stands before the blocks and after them: patches of the image, prefix tokens, pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import WARP, CudaKernel, argument, codes_of, f32, launch, put, registers, u32, when
from lampq_tvm.kernels.cuda.half import two_halves
from lampq_tvm.kernels.cuda.operand import row_words
from lampq_tvm.kernels.cuda.sink import CodeSink, Table, joined
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kinds import Kind

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
    batch: int, channels: int, height: int, width: int, patch: int, name: str = "patches", out: Kind = Kind.INT8
) -> CudaKernel:
    """Pixels to rows of codes: image [B, C, H, W] uint8, out [B * patches, words] uint32, k in the order channel, row, column.

    A code is pixel - 128, in a byte or a float16 value; what lies beyond K holds the row's last code.
    """
    k, down, across = channels * patch * patch, height // patch, width // patch
    per = 32 // out.bits
    words = round_up(k, 4 * per) // per

    def declare() -> Callable[[Expr], None]:
        image = argument("image", (batch, channels, height, width), "uint8")
        rows = argument("out", (batch * down * across, words), "uint32")

        def work(item: Expr) -> None:
            row, word = item // words, item % words
            b, y, x = row // (down * across), row // across % down, row % across
            pixels = []
            for i in range(per):
                at = T.min(word * per + i, k - 1)
                line, column = y * patch + at // patch % patch, x * patch + at % patch
                pixels.append(image[b, at // (patch * patch), line, column])
            if out.is_float:
                put(rows, (row, word), two_halves([T.Cast("float32", pixel) - f32(128) for pixel in pixels]))
                return
            packed = T.Cast("uint32", pixels[0])
            for i, pixel in enumerate(pixels[1:], 1):
                packed = T.bitwise_or(packed, T.shift_left(T.Cast("uint32", pixel), u32(8 * i)))
            put(rows, (row, word), T.bitwise_xor(packed, u32(0x80808080)))

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


def build_to_codes(rows: int, channels: int, kind: Kind, name: str = "codes", *, table: bool = False) -> CudaKernel:
    """Floats to codes: x [rows, C] f32, affine [2] f32 (1/s, z), range [2] f32 to sat(rne(fma(x, 1/s, z))), out [rows, words]
    uint32; with a table in place of the range, to what that has for them; to float16 values with neither. What lies beyond C
    holds the row's last code.
    """
    words, per = row_words(channels, kind.bits), 32 // kind.bits

    def declare() -> Callable[[Expr], None]:
        x, affine = argument("x", (rows, channels), "float32"), argument("affine", (2,), "float32")
        sink = CodeSink.declare(kind, table=table)
        out = argument("out", (rows, words), "uint32")

        def work(item: Expr) -> None:
            row, word = item // words, item % words
            values = [x[row, T.min(word * per + i, channels - 1)] for i in range(per)]
            (codes,) = sink.packed([T.fma(value, affine[0], affine[1]) for value in values])
            put(out, (row, word), codes)

        return work

    return elementwise(name, rows * words, declare)


def build_look_up(rows: int, channels: int, name: str = "look_up") -> CudaKernel:
    """table[code + 128] of codes x [rows, words] uint32; table [256] int8 as words, out [rows, words] uint32."""
    words = row_words(channels, Kind.INT8.bits)

    def declare() -> Callable[[Expr], None]:
        x, table = argument("x", (rows, words), "uint32"), Table.declare(Kind.INT8)
        out = argument("out", (rows, words), "uint32")

        def work(item: Expr) -> None:
            row, word = item // words, item % words
            turned = T.bitwise_xor(x[row, word], u32(0x80808080))
            places = [T.bitwise_and(T.shift_right(turned, u32(8 * i)), u32(255)) for i in range(4)]
            put(out, (row, word), joined([table.entry(place) for place in places], Kind.INT8.bits)[0])

        return work

    return elementwise(name, rows * words, declare)


@dataclass(frozen=True)
class GateShape:
    """What a gating kernel is built for.

    Attributes:
        rows: of both inputs.
        gates, values: columns of g and of x.
        gate_at, value_at: the first that is taken, of `width`.
        out: kind of the codes that are made at once; or float32.
        table: it is looked up for the codes.
    """

    rows: int
    gates: int
    values: int
    gate_at: int
    value_at: int
    width: int
    out: Kind = Kind.FLOAT32
    table: bool = False

    @property
    def key(self) -> str:
        """Short text that names the shape."""
        sizes = (self.rows, self.gates, self.values, self.gate_at, self.value_at, self.width, self.out.bits)
        return "_".join(map(str, sizes)) + ("_table" if self.table else "")


def build_gate(s: GateShape, name: str = "gate") -> CudaKernel:
    """y = fl(table[sat(rne(g)) + 128] * x) of columns of g [rows, gates] and x [rows, values] f32; table [256] f32.

    out is y [rows, width] f32, or its codes [rows, words] uint32 as `build_to_codes` makes them, with its affine, and its range
    or `code_table`.
    """
    coded = s.out is not Kind.FLOAT32
    words, per = (row_words(s.width, s.out.bits), 32 // s.out.bits) if coded else (s.width, 1)

    def declare() -> Callable[[Expr], None]:
        g, x = argument("g", (s.rows, s.gates), "float32"), argument("x", (s.rows, s.values), "float32")
        table = argument("table", (256,), "float32")
        affine = argument("affine", (2,), "float32") if coded else None
        sink = CodeSink.declare(s.out, table=s.table, name="code_table" if s.table else None) if coded else None
        out = argument("out", (s.rows, words), "uint32" if coded else "float32")

        def gated(row: Expr, channel: Expr) -> Expr:
            code = T.bitwise_and(codes_of(g[row, s.gate_at + channel], f32(-128), f32(127)), u32(255))
            return table[T.Cast("int32", T.bitwise_xor(code, u32(128)))] * x[row, s.value_at + channel]

        def work(item: Expr) -> None:
            row, word = item // words, item % words
            values = [gated(row, T.min(word * per + i, s.width - 1)) for i in range(per)]
            if sink is not None and affine is not None:
                values = sink.packed([T.fma(value, affine[0], affine[1]) for value in values])
            put(out, (row, word), values[0])

        return work

    return elementwise(name, s.rows * words, declare)


def build_copy(rows: int, channels: int, name: str = "copy") -> CudaKernel:
    """x, out [rows, C] f32."""

    def declare() -> Callable[[Expr], None]:
        x, out = (argument(letter, (rows, channels), "float32") for letter in ("x", "out"))

        def work(item: Expr) -> None:
            put(out, (item // channels, item % channels), x[item // channels, item % channels])

        return work

    return elementwise(name, rows * channels, declare)


def build_sum(rows: int, channels: int, half: bool, name: str = "add") -> CudaKernel:
    """fl(a + b), or fl(fl(a + b) * 0.5) for two heads: a, b, out [rows, C] f32."""

    def declare() -> Callable[[Expr], None]:
        a, b, out = (argument(letter, (rows, channels), "float32") for letter in ("a", "b", "out"))

        def work(item: Expr) -> None:
            total = a[item // channels, item % channels] + b[item // channels, item % channels]
            put(out, (item // channels, item % channels), total * f32(0.5) if half else total)

        return work

    return elementwise(name, rows * channels, declare)
