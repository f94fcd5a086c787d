"""The small kernels around the blocks: pixels, patches, prefix tokens, pooling, codes of a float value."""

from __future__ import annotations

from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.frames import quick_frames


@quick_frames
def build_pixels(batch: int, channels: int, height: int, width: int) -> PrimFunc:
    """Normalized float image to 8-bit pixels: rne(fma(x, scale[c], shift[c])), clamped to 0..255.

    Arguments: x [B, C, H, W] f32; scale, shift [C] f32 (fl(255 std), fl(255 mean)); out [B, C, H, W] uint8.
    """

    @T.prim_func(s_tir=True)
    def pixels(
        x: T.Buffer((batch, channels, height, width), "float32"),
        scale: T.Buffer((channels,), "float32"),
        shift: T.Buffer((channels,), "float32"),
        out: T.Buffer((batch, channels, height, width), "uint8"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for b, c, i, j in T.grid(batch, channels, height, width):
            out[b, c, i, j] = T.cast(
                T.round(T.min(T.max(T.fma(x[b, c, i, j], scale[c], shift[c]), T.float32(0)), T.float32(255))), "uint8"
            )

    return pixels


@quick_frames
def build_patches(batch: int, channels: int, height: int, width: int, patch: int) -> PrimFunc:
    """Pixels to patch rows of codes (pixel - 128): image [B, C, H, W] uint8 to [B * patches, C * p * p] int8.

    Tokens are in row-major order; k runs over channel, row, column.
    """
    down, across = height // patch, width // patch

    @T.prim_func(s_tir=True)
    def patches(
        image: T.Buffer((batch, channels, height, width), "uint8"),
        out: T.Buffer((batch * down * across, channels * patch * patch), "int8"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for row in T.parallel(batch * down):
            for token, c, i, j in T.grid(across, channels, patch, patch):
                out[row * across + token, (c * patch + i) * patch + j] = T.cast(
                    T.bitwise_xor(image[row // down, c, row % down * patch + i, token * patch + j], T.uint8(128)), "int8"
                )

    return patches


@quick_frames
def build_prepend(batch: int, prefix: int, tokens: int, channels: int) -> PrimFunc:
    """Prefix rows before each image's tokens: tokens [B * T, C] f32, prefix [P, C] f32 to [B * (P + T), C] f32."""

    @T.prim_func(s_tir=True)
    def prepend(
        x: T.Buffer((batch * tokens, channels), "float32"),
        rows: T.Buffer((prefix, channels), "float32"),
        out: T.Buffer((batch * (prefix + tokens), channels), "float32"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for b in range(batch):
            for t, c in T.grid(prefix, channels):
                out[b * (prefix + tokens) + t, c] = rows[t, c]
            for t, c in T.grid(tokens, channels):
                out[b * (prefix + tokens) + prefix + t, c] = x[b * tokens + t, c]

    return prepend


@quick_frames
def build_take_token(batch: int, tokens: int, channels: int, index: int) -> PrimFunc:
    """Token `index` of each image: x [B * T, C] f32 to [B, C] f32."""

    @T.prim_func(s_tir=True)
    def take_token(
        x: T.Buffer((batch * tokens, channels), "float32"), out: T.Buffer((batch, channels), "float32")
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for b, c in T.grid(batch, channels):
            out[b, c] = x[b * tokens + index, c]

    return take_token


@quick_frames
def build_mean_tokens(batch: int, tokens: int, channels: int, start: int) -> PrimFunc:
    """Tokens `start`.. added in their order, then times inv: x [B * T, C] f32, inv [1] f32 to [B, C] f32."""

    @T.prim_func(s_tir=True)
    def mean_tokens(
        x: T.Buffer((batch * tokens, channels), "float32"),
        inv: T.Buffer((1,), "float32"),
        out: T.Buffer((batch, channels), "float32"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for b in range(batch):
            for c in range(channels):
                out[b, c] = x[b * tokens + start, c]
            for t, c in T.grid(tokens - start - 1, channels):
                out[b, c] = out[b, c] + x[b * tokens + start + 1 + t, c]
            for c in range(channels):
                out[b, c] = out[b, c] * inv[0]

    return mean_tokens


@quick_frames
def build_to_codes(rows: int, channels: int) -> PrimFunc:
    """Float to codes: x [rows, C] f32, affine [2] f32 (1/s, z), range [2] f32 to sat(rne(fma(x, 1/s, z))) int8."""

    @T.prim_func(s_tir=True)
    def to_codes(
        x: T.Buffer((rows, channels), "float32"),
        affine: T.Buffer((2,), "float32"),
        bounds: T.Buffer((2,), "float32"),
        out: T.Buffer((rows, channels), "int8"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for r, c in T.grid(rows, channels):
            out[r, c] = T.cast(
                T.round(T.min(T.max(T.fma(x[r, c], affine[0], affine[1]), bounds[0]), bounds[1])), "int8"
            )

    return to_codes


@quick_frames
def build_average(rows: int, channels: int) -> PrimFunc:
    """fl(fl(a + b) * 0.5) of a, b [rows, C] f32."""

    @T.prim_func(s_tir=True)
    def average(
        a: T.Buffer((rows, channels), "float32"),
        b: T.Buffer((rows, channels), "float32"),
        out: T.Buffer((rows, channels), "float32"),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for r, c in T.grid(rows, channels):
            out[r, c] = (a[r, c] + b[r, c]) * T.float32(0.5)

    return average
