"""Weight codes as the 32-bit words that tensor core instructions read."""

from __future__ import annotations

import numpy as np

NIBBLES = 8  # in a word


def pack_words(codes: np.ndarray, layout: str, words: int) -> np.ndarray:
    """Codes [N, K] int8, or float16 values, to [N, words] uint32, zeros beyond K.

    Args:
        layout: `s8`: four codes a word, the first in the low byte; `s4`: eight, the first in the low half of the low byte;
            `w4a8`: of 32 codes, word q holds codes 4q .. 4q + 3 in the low halves of its bytes and 16 + 4q .. in the high
            ones, so that two masks give the two registers of a multiplication in bytes; `f16`: two float16 values.
    """
    if layout == "f16":
        values = np.zeros((len(codes), 2 * words), "<f2")
        values[:, : codes.shape[1]] = codes
        return values.view("<u4")
    per_word = 4 if layout == "s8" else NIBBLES
    full = np.zeros((len(codes), words * per_word), np.int8)
    full[:, : codes.shape[1]] = codes
    if layout == "s8":
        return full.view("<u4")
    nibbles = full.view(np.uint8) & 15
    if layout == "s4":
        low, high = nibbles[:, 0::2], nibbles[:, 1::2]
    else:
        halves = nibbles.reshape(len(codes), -1, 2, 16)
        low, high = (halves[:, :, i].reshape(len(codes), -1) for i in range(2))
    return np.ascontiguousarray(low | high << 4).view("<u4")
