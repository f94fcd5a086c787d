"""Codes stored at exactly their width: a little-endian bit stream, each code as an unsigned b-bit number."""

from __future__ import annotations

import numpy as np

CHUNK = 1 << 20  # codes unpacked at once; a multiple of 8, so that chunks start at a byte


def pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Signed codes (-2^(bits-1) .. 2^(bits-1)-1, any shape, in C order) to a stream [ceil(n * bits / 8)] uint8.

    >>> pack_bits(np.array([-8, 7, 0], np.int8), 4)
    array([240,   8], dtype=uint8)
    """
    flat = codes.reshape(-1)
    parts = []
    for start in range(0, len(flat), CHUNK):
        unsigned = (flat[start : start + CHUNK].astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
        planes = unsigned[:, None] >> np.arange(bits, dtype=np.uint8) & 1
        parts.append(np.packbits(planes.reshape(-1), bitorder="little"))
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def unpack_bits(stream: np.ndarray, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Stream of `pack_bits` back to int8 codes of a shape.

    >>> unpack_bits(np.array([240, 8], np.uint8), 4, (3,))
    array([-8,  7,  0], dtype=int8)
    """
    count = int(np.prod(shape))
    out = np.empty(count, np.int8)
    weights = (1 << np.arange(bits)).astype(np.int16)
    for start in range(0, count, CHUNK):
        n = min(CHUNK, count - start)
        first = start * bits // 8
        planes = np.unpackbits(stream[first : first + (n * bits + 7) // 8], count=n * bits, bitorder="little")
        out[start : start + n] = planes.reshape(n, bits) @ weights - (1 << (bits - 1))
    return out.reshape(shape)
