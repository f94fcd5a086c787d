"""LayerNorm in the arithmetic table's order: 32 strided lanes, halves added, centred and squared by fma."""

from __future__ import annotations

from typing import Any

from tvm.ir import Expr
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.frames import quick_frames

LANES = 32


@quick_frames
def build_layernorm(rows: int, channels: int, eps: float, to_codes: bool) -> PrimFunc:
    """The kernel for any rows and channels.

    Arguments of the function, in order: x [rows, C] f32; G, B [C] f32; range [2] f32 (unused without codes);
    out [rows, C], int8 codes sat(rne(fma(c * r, G, B))) or f32 values fma(c * r, G, B).
    """
    whole, rest = channels // LANES, channels % LANES
    out_dtype = "int8" if to_codes else "float32"

    def finish(value: Expr, low: Expr, high: Expr) -> Expr:
        return T.cast(T.round(T.min(T.max(value, low), high)), "int8") if to_codes else value

    @T.inline
    def clear(lanes: Any) -> None:
        for lane in T.vectorized(LANES):
            lanes[lane] = T.float32(0)

    @T.inline
    def halve(lanes: Any) -> None:
        """lanes[0] = the sum of all lanes, halves added 16, 8, 4, 2, 1."""
        for step in T.unroll(5):
            for lane in range(T.shift_right(16, step)):
                lanes[lane] = lanes[lane] + lanes[lane + T.shift_right(16, step)]

    @T.inline
    def each(body: Any) -> None:
        """body(channel, lane) for every channel; lanes beyond C add nothing."""
        for block in range(whole):
            for lane in T.vectorized(LANES):
                body(block * LANES + lane, lane)
        for lane in range(rest):
            body(whole * LANES + lane, lane)

    @T.prim_func(s_tir=True)
    def layernorm(
        x: T.Buffer((rows, channels), "float32"),
        gamma: T.Buffer((channels,), "float32"),
        beta: T.Buffer((channels,), "float32"),
        bounds: T.Buffer((2,), "float32"),
        out: T.Buffer((rows, channels), out_dtype),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for row in T.parallel(rows):
            with T.sblock("row"):
                T.reads()
                T.writes()
                lanes = T.sblock_alloc_buffer((LANES,), "float32", scope="local")
                total = T.sblock_alloc_buffer((1,), "float32", scope="local")
                root = T.sblock_alloc_buffer((1,), "float32", scope="local")
                inverse = T.sblock_alloc_buffer((1,), "float32", scope="local")
                centred = T.sblock_alloc_buffer((channels,), "float32", scope="local")

                @T.inline
                def add(c: Any, lane: Any) -> None:
                    lanes[lane] = lanes[lane] + x[row, c]

                @T.inline
                def centre(c: Any, lane: Any) -> None:
                    centred[c] = T.fma(-inverse[0], total[0], x[row, c])

                @T.inline
                def square(c: Any, lane: Any) -> None:
                    lanes[lane] = T.fma(centred[c], centred[c], lanes[lane])

                @T.inline
                def store(c: Any, lane: Any) -> None:
                    out[row, c] = finish(T.fma(centred[c] * root[0], gamma[c], beta[c]), bounds[0], bounds[1])

                inverse[0] = T.float32(1) / T.float32(channels)
                clear(lanes)
                each(add)
                halve(lanes)
                total[0] = lanes[0]
                clear(lanes)
                each(centre)
                each(square)
                halve(lanes)
                root[0] = T.float32(1) / T.sqrt(T.fma(lanes[0], inverse[0], T.float32(eps)))
                each(store)

    return layernorm
