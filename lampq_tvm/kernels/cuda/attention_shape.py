"""What an attention kernel is built for, and what both attentions do alike: warps, query rows, what a head writes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import Threads, i32, put, registers, u32, when
from lampq_tvm.kernels.cuda.epilogue import HALF
from lampq_tvm.kernels.cuda.mma import ROWS, STEP
from lampq_tvm.kernels.shapes import round_up

GROUP = 32  # tokens of a step of both products
SMALL = 512  # blocks of 16 rows that a chip takes at once or nearly


@dataclass(frozen=True)
class CudaAttentionShape:
    """What an attention kernel is built for.

    Attributes:
        images: or windows.
        tokens, heads: of an image.
        head_dim: channels of a head.
        row_warps: warps of a block that take 16 query rows each.
        key_warps: warps that share the keys of the same rows.
        groups: image b adds the bias of its pattern, pattern[b % groups], to its scores; 0 where nothing is added.
        patterns: biases of a head.
    """

    images: int
    tokens: int
    heads: int
    head_dim: int
    row_warps: int = 4
    key_warps: int = 1
    groups: int = 0
    patterns: int = 0

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return self.row_warps * self.key_warps

    @property
    def rows(self) -> int:
        """Query rows of a block."""
        return ROWS * self.row_warps

    @property
    def grid(self) -> tuple[int, int, int]:
        """Blocks: of query rows, heads, images."""
        return -(-self.tokens // self.rows), self.heads, self.images


def with_warps(shape: CudaAttentionShape) -> CudaAttentionShape:
    """Warps for any shape, as timed on an H200: small blocks where there are few rows, else those that share keys most."""
    groups, rows = -(-shape.tokens // GROUP), -(-shape.tokens // ROWS)
    blocks = shape.images * shape.heads * rows
    if blocks <= SMALL:
        return dataclasses.replace(shape, row_warps=1, key_warps=min(4, groups))
    if blocks <= 4 * SMALL:
        return dataclasses.replace(shape, row_warps=min(2, rows), key_warps=min(2, groups))
    return dataclasses.replace(shape, row_warps=min(8, rows), key_warps=1)


def load_queries(qkv: Any, shape: CudaAttentionShape, head_words: int, first_token: Expr, row: Expr, threads: Threads) -> Any:
    """A warp's 16 query rows from `row` on in the registers' order of `mma.Mma`; zeros beyond the head's words.

    Args:
        head_words: words of a head's channels in a row of qkv.
    """
    lane, steps = threads.lane, -(-head_words // STEP)
    q = registers(steps * 4)
    for i in range(steps * 4):
        token = tirx.min(row + lane // 4 + i % 2 * 8, i32(shape.tokens - 1))
        word = i // 4 * STEP + i % 4 // 2 * 4 + lane % 4
        put(q, i, u32(0))
        with when(word < head_words if head_words % STEP else None):
            put(q, i, qkv[first_token + token, threads.block[1] * head_words + word])
    return q


def piece(head_dim: int, columns: int) -> int:
    """Neighbours that are written at a time: a part of a head and of a lane's share of its `columns`."""
    return next(size for size in (8, 4) if head_dim % size == 0 and columns // 4 % size == 0)


def written(shape: CudaAttentionShape, out_bits: int, channel: Expr, head: Expr) -> Expr:
    """Whether a head writes a channel: its own, and the last one the row's end, which must be finite in float16."""
    if out_bits < HALF:
        return channel < shape.head_dim
    row = head * shape.head_dim + channel
    last = T.And(head == shape.heads - 1, row < round_up(shape.heads * shape.head_dim, 8))
    return T.Or(channel < shape.head_dim, last)
