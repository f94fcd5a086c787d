"""LayerNorm in the arithmetic table's order: 32 strided lanes, halves added, centred and squared by fma."""

from __future__ import annotations

from tvm.ir import Expr
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

LANES = 32


def build_layernorm(rows: int, channels: int, eps: float, to_codes: bool) -> PrimFunc:
    """The kernel for any rows and channels.

    Arguments of the function, in order: x [rows, C] f32; G, B [C] f32; for codes range [2] f32; out [rows, C], int8 codes
    sat(rne(fma(c * r, G, B))) or f32 values fma(c * r, G, B).
    """
    whole, rest = channels // LANES, channels % LANES
    out_dtype = "int8" if to_codes else "float32"

    def finish(value: Expr, low: Expr, high: Expr) -> Expr:
        return T.cast(T.round(T.min(T.max(value, low), high)), "int8") if to_codes else value

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
                mean = T.sblock_alloc_buffer((1,), "float32", scope="local")
                inverse = T.sblock_alloc_buffer((1,), "float32", scope="local")
                centred = T.sblock_alloc_buffer((channels,), "float32", scope="local")
                inverse[0] = T.float32(1) / T.float32(channels)
                for lane in T.vectorized(LANES):
                    lanes[lane] = T.float32(0)
                for block in range(whole):
                    for lane in T.vectorized(LANES):
                        lanes[lane] = lanes[lane] + x[row, block * LANES + lane]
                for lane in range(rest):
                    lanes[lane] = lanes[lane] + x[row, whole * LANES + lane]
                for step in T.unroll(5):
                    for lane in range(T.shift_right(16, step)):
                        lanes[lane] = lanes[lane] + lanes[lane + T.shift_right(16, step)]
                mean[0] = lanes[0]
                for lane in T.vectorized(LANES):
                    lanes[lane] = T.float32(0)
                for block in range(whole):
                    for lane in T.vectorized(LANES):
                        centred[block * LANES + lane] = T.fma(-inverse[0], mean[0], x[row, block * LANES + lane])
                    for lane in T.vectorized(LANES):
                        lanes[lane] = T.fma(centred[block * LANES + lane], centred[block * LANES + lane], lanes[lane])
                for lane in range(rest):
                    centred[whole * LANES + lane] = T.fma(-inverse[0], mean[0], x[row, whole * LANES + lane])
                    lanes[lane] = T.fma(centred[whole * LANES + lane], centred[whole * LANES + lane], lanes[lane])
                for step in T.unroll(5):
                    for lane in range(T.shift_right(16, step)):
                        lanes[lane] = lanes[lane] + lanes[lane + T.shift_right(16, step)]
                mean[0] = T.float32(1) / T.sqrt(T.fma(lanes[0], inverse[0], T.float32(eps)))
                for block in range(whole):
                    for lane in T.vectorized(LANES):
                        out[row, block * LANES + lane] = finish(
                            T.fma(
                                centred[block * LANES + lane] * mean[0],
                                gamma[block * LANES + lane],
                                beta[block * LANES + lane],
                            ),
                            bounds[0],
                            bounds[1],
                        )
                for lane in range(rest):
                    out[row, whole * LANES + lane] = finish(
                        T.fma(
                            centred[whole * LANES + lane] * mean[0],
                            gamma[whole * LANES + lane],
                            beta[whole * LANES + lane],
                        ),
                        bounds[0],
                        bounds[1],
                    )

    return layernorm
