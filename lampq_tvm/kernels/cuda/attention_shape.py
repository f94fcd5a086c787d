"""What an attention kernel is built for, and what both attentions do alike: warps, query rows, biases, what a head writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.emit import Threads, argument, i32, put, registers, u32, when
from lampq_tvm.kernels.cuda.mma import COLUMNS, ROWS, STEP
from lampq_tvm.kernels.shapes import round_up
from lampq_tvm.kinds import Kind

GROUP = 32  # tokens of a step of both products
Biases = Callable[[Expr, int], Expr]  # of a score: by the first token of its group of keys and by its register
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


def bias_arguments(shape: CudaAttentionShape, dtype: str) -> tuple[Any, Any]:
    """The kernel's next buffers, None where nothing is added to the scores: bias and pattern.

    bias [patterns * heads * tokens, tokens up to whole groups of keys], of a 4-byte dtype; pattern [groups] int32.
    """
    if not shape.groups:
        return None, None
    bias = argument("bias", (shape.patterns * shape.heads * shape.tokens, round_up(shape.tokens, GROUP)), dtype)
    return bias, argument("pattern", (shape.groups,), "int32")


def biases_of(bias: Any, pattern: Any, shape: CudaAttentionShape, row: Expr, threads: Threads) -> Biases | None:
    """What is added to a warp's scores, None where nothing is; query rows beyond the last take the last one's.

    Args:
        bias, pattern: of `bias_arguments`.
        row: first of the warp's query rows.
    """
    if not shape.groups:
        return None
    s, rows = shape, registers(2, "int32")
    first = (pattern[threads.block[2] % s.groups] * s.heads + threads.block[1]) * s.tokens
    for half in range(2):
        put(rows, half, first + tirx.min(row + half * 8 + threads.lane // 4, i32(s.tokens - 1)))
    return lambda key, i: bias[rows[i % 4 // 2], key_of(key, i, threads.lane)]


def key_of(first: Expr, i: int, lane: Expr) -> Expr:
    """Token of a score's register, `first` being that of its group of keys."""
    return first + i // 4 * COLUMNS + lane % 4 * 2 + i % 2


def piece(head_dim: int, columns: int) -> int:
    """Neighbours that are written at a time: a part of a head and of a lane's share of its `columns`."""
    return next(size for size in (8, 4) if head_dim % size == 0 and columns // 4 % size == 0)


def written(shape: CudaAttentionShape, out: Kind, channel: Expr, head: Expr) -> Expr:
    """Whether a head writes a channel: its own, and the last one the row's end, which must be finite in float16."""
    if not out.is_float:
        return channel < shape.head_dim
    row = head * shape.head_dim + channel
    last = T.And(head == shape.heads - 1, row < round_up(shape.heads * shape.head_dim, 8))
    return T.Or(channel < shape.head_dim, last)
