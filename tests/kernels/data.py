"""Arrays that find mistakes: extreme codes, ties, values at the edges of float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import Kernel
from lampq_tvm.oracle.fma import fma32

EDGES = (1, 2, 3, 5, 7, 13, 16, 17, 31, 33, 50, 64, 65, 97, 197)


def codes(rng: np.random.Generator, rows: int, columns: int, bits: int) -> np.ndarray:
    """Codes [rows, columns] int8: rows all lowest, all highest, alternating, lowest or highest at random, and random."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    out = rng.integers(low, high + 1, (rows, columns))
    kind = (np.arange(rows) + rng.integers(5))[:, None] % 5
    alternating = np.where((np.arange(columns) + np.arange(rows)[:, None]) % 2, high, low)
    choices = [kind == 0, kind == 1, kind == 2, kind == 3]
    return np.select(choices, [low, high, alternating, np.where(out < 0, low, high)], out).astype(np.int8)


def pack(w: np.ndarray, lanes: int, group: int) -> np.ndarray:
    """Weights [N, K] as the multiply-add step reads them, [N / lanes, K / group, lanes * group], zeros beyond N and K."""
    n, k = w.shape
    out = np.zeros((-(-n // lanes), -(-k // group), lanes, group), np.int8)
    for i in range(n):
        for j in range(group):
            part = w[i, j::group]
            out[i // lanes, : len(part), i % lanes, j] = part
    return out.reshape(*out.shape[:2], -1)


def packed(w: np.ndarray, dot: Dot) -> np.ndarray:
    """Weights [N, K] as a multiply-add reads them."""
    return pack_pairs(w, dot.lanes) if dot.layout == "pairs" else pack(w, dot.lanes, dot.group)


def pack_pairs(w: np.ndarray, lanes: int) -> np.ndarray:
    """2-bit weights [N, K] as places in tables of pairs, [N / lanes, K / 2, lanes]; a pair of zeros beyond N and K."""
    n, k = w.shape
    out = np.full((-(-n // lanes), -(-k // 2), lanes), 10, np.int8)
    for i in range(n):
        for j in range(k):
            out[i // lanes, j // 2, i % lanes] += w[i, j] * (4 if j % 2 else 1)
    return out


def requantizer(rng: np.random.Generator, acc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, B), each [N] f32, for sums acc [rows, N]: by channel plain, exact ties, ties that one rounding decides, and huge.

    A tie that one rounding decides: B = fl(code + 1/2 - acc M) for one row's acc, so that acc M + B misses the tie by what
    B's own rounding left. A product that is rounded before the addition falls on the wrong side.
    """
    n = acc.shape[1]
    kind = (np.arange(n) + rng.integers(4)) % 4
    spread = np.maximum(np.abs(acc.astype(np.float64)).max(0), 1)
    M = (rng.uniform(0.5, 2, n) * 100 / spread).astype(np.float32)
    B = rng.normal(0, 20, n).astype(np.float32)
    exact = 2.0 ** -np.ceil(np.log2(spread / 64))
    M, B = np.where(kind == 1, exact / 2, M), np.where(kind == 1, rng.integers(-9, 9, n) / 2, B)
    row = acc[rng.integers(len(acc))]
    near = rng.integers(-100, 100, n) + 0.5 - row * M.astype(np.float64)
    B = np.where(kind == 2, near, B)
    M = np.where(kind == 3, rng.choice([1e9, -1e9, 1e30, 3e38], n), M)
    B = np.where(kind == 3, rng.choice([0, 3e9, -1e38], n), B)
    return M.astype(np.float32), B.astype(np.float32)


def unfused(acc: np.ndarray, M: np.ndarray, B: np.ndarray) -> np.ndarray:
    """acc M + B with the product rounded first: what a kernel must not compute."""
    with np.errstate(over="ignore"):
        return acc.astype(np.float32) * M + B


def code_range(bits: int) -> np.ndarray:
    """Lowest and highest code, f32 [2]."""
    return np.array([-(1 << (bits - 1)), (1 << (bits - 1)) - 1], np.float32)


def cut(kernel: Kernel, tiles: Tiles) -> Tiles:
    """Tiles of as many vectors, then of as many rows, as the kernel's registers hold."""
    wanted = (replace(tiles, rows=r, vectors=v) for r in range(tiles.rows, 0, -1) for v in range(tiles.vectors, 0, -1))
    return next(each for each in wanted if kernel.takes(each))


__all__ = ["EDGES", "code_range", "codes", "cut", "fma32", "pack", "pack_pairs", "packed", "requantizer", "unfused"]
