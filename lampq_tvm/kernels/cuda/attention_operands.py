"""Where an attention's keys, values and weights of scores lie in shared memory, and how they get there.

Keys lie as they come, values turned round ([channel, token]). A score's registers hold columns 2q and 2q + 1 of four tiles of
8; as an operand of the value product they stand for tokens 4q .. 4q + 3 and 16 + 4q .. of 32, so values are stored in that
order of tokens: sums of integers do not mind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.cuda.attention_shape import GROUP, CudaAttentionShape
from lampq_tvm.kernels.cuda.emit import WARP, Threads, clear, copy_words, i32, ptx, put, registers, u32, when
from lampq_tvm.kernels.cuda.mma import COLUMNS, STEP, Mma
from lampq_tvm.kernels.cuda.tiles import PAD
from lampq_tvm.kernels.shapes import round_up

MOST_TURNS = 8  # of a loop that is unrolled
ENTRIES = 256  # of P


@dataclass(frozen=True)
class HeadMemory:
    """Keys, values and P of a head in a block's shared memory, in words."""

    shape: CudaAttentionShape
    mma: Mma

    @property
    def head_words(self) -> int:
        """Of a token's channels of the head."""
        return self.shape.head_dim // 4

    @property
    def padded(self) -> int:
        """Tokens, whole groups."""
        return round_up(self.shape.tokens, GROUP)

    @property
    def k_words(self) -> int:
        """Of a key, whole steps."""
        return round_up(self.head_words, STEP)

    @property
    def k_pitch(self) -> int:
        """From key to key."""
        return self.k_words + PAD

    @property
    def columns(self) -> int:
        """Channels of a head, filled up to what is loaded at a time."""
        return round_up(self.shape.head_dim, self.mma.columns)

    @property
    def v_pitch(self) -> int:
        """From channel to channel of the values."""
        return self.padded // 4 + PAD

    @property
    def v_first(self) -> int:
        """Where the values begin."""
        return self.padded * self.k_pitch

    @property
    def p_first(self) -> int:
        """Where P begins, a word an entry."""
        return self.v_first + self.columns * self.v_pitch

    @property
    def end(self) -> int:
        """Words of all of it."""
        return self.p_first + ENTRIES

    def load(self, qkv: Any, P: Any, memory: Any, first_token: Expr, threads: Threads) -> None:
        """Start bringing everything; it is there after the copies' end and a barrier."""
        self._clear(memory, threads)
        self._load_keys(qkv, memory, first_token, threads)
        self._load_values(qkv, memory, first_token, threads)
        for first in range(0, ENTRIES, threads.count):
            entry = threads.index + first
            with when(None if first + threads.count <= ENTRIES else entry < ENTRIES):
                put(memory, self.p_first + entry, T.Cast("uint32", P[entry]))

    def _clear(self, memory: Any, threads: Threads) -> None:
        """Zeros where a head of odd size leaves gaps: words beyond its keys, channels beyond its values."""
        gap = self.k_words - self.head_words
        if gap:
            clear(memory, self.padded * gap, lambda i: i // gap * self.k_pitch + self.head_words + i % gap, threads)
        if self.columns > self.shape.head_dim:
            first, count = self.shape.head_dim, self.columns - self.shape.head_dim
            lines = [self._line(i32(first) + i) for i in range(count)]
            for line in lines:
                clear(memory, self.v_pitch, lambda i, at=line: self.v_first + at * self.v_pitch + i, threads)  # type: ignore[misc]

    def _line(self, channel: Expr) -> Expr:
        """Where a channel's values lie among the columns of the second product: `mma.neighbours` turned round."""
        inside = channel % (self.columns // 4)
        return inside // 2 * COLUMNS + channel // (self.columns // 4) * 2 + inside % 2

    def _load_keys(self, qkv: Any, memory: Any, first_token: Expr, threads: Threads) -> None:
        """Keys [token, channel] as they come; tokens beyond the last repeat it."""
        s = self.shape
        size = next(words for words in (4, 2, 1) if self.head_words % words == 0)
        across = self.head_words // size
        column = (s.heads + threads.block[1]) * self.head_words
        total = self.padded * across
        for first in range(0, total, threads.count):
            chunk = threads.index + first
            with when(None if first + threads.count <= total else chunk < total):
                token = first_token + tirx.min(chunk // across, i32(s.tokens - 1))
                target = chunk // across * self.k_pitch + chunk % across * size
                copy_words(memory, target, qkv, token, column + chunk % across * size, size, self.mma.asynchronous)

    def _load_values(self, qkv: Any, memory: Any, first_token: Expr, threads: Threads) -> None:
        """Values [channel, token] in the order of tokens that the scores have: four tokens by four channels a time."""
        s = self.shape
        column = (2 * s.heads + threads.block[1]) * self.head_words
        total = self.padded // 4 * self.head_words
        turns = -(-total // threads.count)
        v, turned = registers(4), registers(4)
        with (T.unroll if turns <= MOST_TURNS else T.serial)(0, turns) as turn:
            item = turn * threads.count + threads.index
            with when(None if total % threads.count == 0 else item < total):
                slot, word = self._value_item(item)
                token = slot // 8 * GROUP + slot % 8 // 4 * 16 + slot % 4 * 2
                for i, step in enumerate((0, 1, 8, 9)):
                    put(v, i, qkv[first_token + tirx.min(token + step, i32(s.tokens - 1)), column + word])
                _transpose_bytes(v, turned)
                for i in range(4):
                    put(memory, self.v_first + self._line(word * 4 + i) * self.v_pitch + slot, turned[i])

    def _value_item(self, item: Expr) -> tuple[Expr, Expr]:
        """(four tokens, word of channels) of an item; a warp's 32 are spread so that they lie in different banks."""
        words = self.head_words
        if words % 4:
            return item // words, item % words
        block = item // WARP
        return block // (words // 4) * 8 + item // 4 % 8, item % 4 * (words // 4) + block % (words // 4)


def _transpose_bytes(rows: Any, columns: Any) -> None:
    """columns[i] = byte i of rows[0..3]; `prmt` picks bytes, 0..3 from its first word and 4..7 from its second."""
    half = registers(4)
    for i, pick in enumerate((0x5140, 0x7362)):
        ptx("prmt.b32", half[2 * i], rows[0], rows[1], u32(pick))
        ptx("prmt.b32", half[2 * i + 1], rows[2], rows[3], u32(pick))
    for i in range(4):
        ptx("prmt.b32", columns[i], half[i // 2 * 2], half[i // 2 * 2 + 1], u32((0x5410, 0x7632)[i % 2]))
