"""The image before the network: pixels of a normalized one, and patches as rows of codes."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.rows import codes, lanes_of, put, read, spans, spread

PIECES = (64, 32, 16, 8, 4, 1)  # bytes of a patch's row that are moved at once


def build_pixels(batch: int, channels: int, height: int, width: int, isa: str) -> PrimFunc:
    """Normalized float image to 8-bit pixels: rne(fma(x, scale[c], shift[c])), clamped to 0..255.

    Arguments: x [B, C, H, W] f32; scale, shift [C] f32 (fl(255 std), fl(255 mean)); out [B, C, H, W] uint8.
    """
    level, shape = LEVELS[isa], (batch, channels, height, width)
    low, high = (tirx.const(bound, "float32") for bound in (0.0, 255.0))

    def body(x: Any, scale: Any, shift: Any, out: Any) -> None:
        with T.parallel(0, batch * channels * height) as row:
            channel = row // height % channels
            where = row // (channels * height), channel, row % height
            for c, count, lanes in spans(width, level.lanes, level.code_vectors):
                factors = spread(scale[channel], lanes), spread(shift[channel], lanes)
                values = [T.fma(read(x, c + i * lanes, lanes, *where), *factors) for i in range(count)]
                for at, size, found in codes(level, values, low, high, lanes, signed=False):
                    put(out, [found], c + at, size, *where)

    constants = [(name, (channels,), "float32") for name in ("scale", "shift")]
    return function("pixels", [("x", shape, "float32"), *constants, ("out", shape, "uint8")], body)


def build_normalized(batch: int, channels: int, height: int, width: int, isa: str) -> PrimFunc:
    """8-bit pixels to the network's float input: fma(fl(pixel), scale[c], shift[c]).

    Arguments: image [B, C, H, W] uint8; scale, shift [C] f32 (1 / (255 std), -mean / std); out [B * C * H, W] f32.
    """
    level, shape = LEVELS[isa], (batch, channels, height, width)

    def body(image: Any, scale: Any, shift: Any, out: Any) -> None:
        with T.parallel(0, batch * channels * height) as row:
            channel = row // height % channels
            where = row // (channels * height), channel, row % height
            for c, count, lanes in spans(width, level.lanes, level.code_vectors):
                factors = spread(scale[channel], lanes), spread(shift[channel], lanes)
                pixels = [T.Cast(lanes_of("float32", lanes), read(image, c + i * lanes, lanes, *where)) for i in range(count)]
                put(out, [T.fma(pixel, *factors) for pixel in pixels], c, lanes, row)

    constants = [(name, (channels,), "float32") for name in ("scale", "shift")]
    rows = batch * channels * height
    return function("normalized", [("image", shape, "uint8"), *constants, ("out", (rows, width), "float32")], body)


def build_patches(batch: int, channels: int, height: int, width: int, patch: int, isa: str) -> PrimFunc:
    """Pixels to patch rows of codes (pixel - 128): image [B, C, H, W] uint8 to [B * patches, C * p * p] int8.

    Tokens are in row-major order; k runs over channel, row, column.
    """
    down, across = height // patch, width // patch
    lanes = next(size for size in PIECES if size <= min(patch, 4 * LEVELS[isa].lanes))
    pieces = [*range(0, patch - lanes, lanes), patch - lanes]  # the last ones may overlap

    def body(image: Any, out: Any) -> None:
        with T.parallel(0, batch * down * across) as token, T.serial(0, channels) as c, T.serial(0, patch) as i:
            row, column = token // across % down * patch + i, token % across * patch
            for j in pieces:
                pixels = read(image, column + j, lanes, token // (down * across), c, row)
                put(out, [_signed(pixels, lanes)], (c * patch + i) * patch + j, lanes, token)

    arguments = [("image", (batch, channels, height, width), "uint8")]
    return function("patches", [*arguments, ("out", (batch * down * across, channels * patch * patch), "int8")], body)


def _signed(pixels: Expr, lanes: int) -> Expr:
    """pixel - 128; four bytes as a word: LLVM would widen arithmetic on so few."""
    if lanes == 4:
        word = T.bitwise_xor(T.reinterpret(pixels, dtype="uint32"), tirx.const(0x80808080, "uint32"))
        return T.reinterpret(word, dtype="int8x4")
    return T.reinterpret(T.bitwise_xor(pixels, spread(tirx.const(0x80, "uint8"), lanes)), dtype=lanes_of("int8", lanes))
