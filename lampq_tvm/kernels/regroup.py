"""Kernels around windows: tokens in another order, and the sum of a stream and a normalized branch."""

from __future__ import annotations

from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.frames import quick_frames

LANES = 16  # float32 added at once


@quick_frames
def build_regroup(batch: int, rows: int, taken: int, parts: int, channels: int, dtype: str) -> PrimFunc:
    """Row r of an image's output is, part after part, the row index[r, part] of its input, or `fill` where that is -1.

    Arguments: x [batch * rows, C]; index [taken, parts] int32; fill [1]; out [batch * taken, parts * C], of `dtype` but the
    index.
    """

    @T.prim_func(s_tir=True)
    def regroup(
        x: T.Buffer((batch * rows, channels), dtype),
        index: T.Buffer((taken, parts), "int32"),
        fill: T.Buffer((1,), dtype),
        out: T.Buffer((batch * taken, parts * channels), dtype),
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        for row in T.parallel(batch * taken):
            for part in range(parts):
                if index[row % taken, part] < 0:
                    for c in range(channels):
                        out[row, part * channels + c] = fill[0]
                else:
                    for c in range(channels):
                        out[row, part * channels + c] = x[row // taken * rows + index[row % taken, part], c]

    return regroup


@quick_frames
def build_add(rows: int, channels: int) -> PrimFunc:
    """fl(a + b) of a, b [rows, C] f32; the output may be a or b itself, so the vectors are written out."""
    whole = channels // LANES * LANES

    @T.prim_func(s_tir=True)
    def add(
        a: T.Buffer((rows, channels), "float32"),
        b: T.Buffer((rows, channels), "float32"),
        out: T.Buffer((rows, channels), "float32"),
    ) -> None:
        for r in T.parallel(rows):
            for block in range(whole // LANES):
                for lane in T.vectorized(LANES):
                    out[r, block * LANES + lane] = a[r, block * LANES + lane] + b[r, block * LANES + lane]
            for c in range(whole, channels):
                out[r, c] = a[r, c] + b[r, c]

    return add
