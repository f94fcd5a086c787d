"""Orthogonal matrices that spread one large channel over all: Hadamard's, with random signs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def rotation(size: int, seed: int = 0) -> F64:
    """D H / sqrt(size), orthogonal [size, size], D random signs.

    H is Hadamard's for 2^k, 12 2^k and 20 2^k (Paley's of order 12 and 20, Kronecker's product with Sylvester's); of any other
    size there may be none, and a random orthogonal matrix stands for it.
    """
    rng = np.random.default_rng((seed, size))
    found = hadamard(size)
    if found is None:
        q, r = np.linalg.qr(rng.standard_normal((size, size)))
        return np.asarray(q * np.sign(np.diag(r)))
    return np.asarray(rng.choice([-1.0, 1.0], size)[:, None] * found / np.sqrt(size))


def hadamard(size: int) -> F64 | None:
    """A matrix of +-1 with H H^T = size I; None where no construction here gives one."""
    for first in (1, 12, 20):
        doublings = size / first
        if doublings >= 1 and np.log2(doublings).is_integer():
            found = np.ones((1, 1)) if first == 1 else paley(first - 1)
            for _ in range(int(np.log2(doublings))):
                found = np.kron(found, np.array([[1.0, 1.0], [1.0, -1.0]]))
            return found
    return None


def paley(q: int) -> F64:
    """Hadamard's matrix of order q + 1, q a prime that is 3 modulo 4 (Paley, 1933)."""
    squares = {x * x % q for x in range(1, q)}
    character = np.array([0.0, *(1.0 if x in squares else -1.0 for x in range(1, q))])
    index = np.arange(q)
    skew = np.zeros((q + 1, q + 1))
    skew[0, 1:], skew[1:, 0] = 1, -1
    skew[1:, 1:] = character[(index[:, None] - index) % q]
    return skew + np.eye(q + 1)
