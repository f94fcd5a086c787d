"""Pooling over tokens: added in their order, channel by channel."""

from __future__ import annotations

from typing import Any

from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.emit import function
from lampq_tvm.kernels.isa import LEVELS
from lampq_tvm.kernels.rows import put, read, spans, spread

VECTORS = 8


def build_mean_tokens(batch: int, tokens: int, channels: int, start: int, isa: str) -> PrimFunc:
    """Tokens `start`.. added in their order, then times inv: x [B * T, C] f32, inv [1] f32 to [B, C] f32."""

    def body(x: Any, inv: Any, out: Any) -> None:
        def sums(image: Expr, c: Expr, count: int, lanes: int) -> None:
            """Some channels, whose sums stay in registers."""
            total = T.sblock_alloc_buffer((count * lanes,), "float32")
            places = range(0, count * lanes, lanes)
            for at in places:
                put(total, [read(x, c + at, lanes, image * tokens + start)], at, lanes)
            with T.serial(start + 1, tokens) as t:
                for at in places:
                    put(total, [read(total, at, lanes) + read(x, c + at, lanes, image * tokens + t)], at, lanes)
            for at in places:
                put(out, [read(total, at, lanes) * spread(inv[0], lanes)], c + at, lanes, image)

        with T.parallel(0, batch) as image:
            for c, count, lanes in spans(channels, LEVELS[isa].lanes, VECTORS):
                with T.sblock("sums"):
                    T.reads()
                    T.writes()
                    sums(image, c, count, lanes)

    arguments = [("x", (batch * tokens, channels), "float32"), ("inv", (1,), "float32")]
    return function("mean_tokens", [*arguments, ("out", (batch, channels), "float32")], body)
