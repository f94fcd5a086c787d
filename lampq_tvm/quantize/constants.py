"""Constants of the integer network, computed once in float64 and rounded once.

Names are those of the arithmetic table: acc is the integer sum, x = s_x (code - z_x), w = s_w code, y = s_y (code - z_y).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.quantizers.carried import CODES, Carried, carried
from lampq_tvm.quantizers.probabilities import NATS, STEPS
from lampq_tvm.quantizers.protocol import Quantizer
from lampq_tvm.quantizers.uniform import Uniform

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int8]


def fits(k: int, largest_a: int, largest_w: int) -> bool:
    """Whether no sum of k products of codes up to so large can leave int32."""
    return k * largest_a * largest_w < 1 << 31


def check_range(k: int, largest_a: int, largest_w: int, where: str) -> None:
    """Raise UnsupportedError where a sum of k products could leave int32."""
    if not fits(k, largest_a, largest_w):
        raise UnsupportedError(
            f"a sum of {k} products of codes up to {largest_a} and {largest_w} could leave int32",
            where=where,
            hint="use fewer bits there",
        )


def output_affine(codes: npt.NDArray[Any], scale: F64, bias: F64, x: Uniform | Carried) -> tuple[F64, F64]:
    """(S, B) with y = S[n] acc[n] + B[n]: S = s_w s_x, B = bias - s_w s_x z_x sum_k w[n, k]. codes [N, K], scale [N]."""
    S = scale * x.scale
    return S, bias - S * x.zero * codes.sum(1, dtype=np.float64)


def pixel_affine(codes: npt.NDArray[Any], scale: F64, bias: F64, shift: F64) -> tuple[F64, F64]:
    """(S, B) of the patch embedding on codes pixel - 128; `shift` [K] is 255 mean, which the weights see as data."""
    return scale, bias + scale * (codes * (128.0 - shift)).sum(1)


def requantizer(S: F64, B: F64, y: Quantizer) -> tuple[F32, F32]:
    """(M, B) with code = sat(rne(M acc + B)) from y = S acc + B; for LayerNorm likewise, from gamma and beta."""
    step, zero = y.decoder.scale, y.decoder.zero
    return (S / step).astype(np.float32), (B / step + zero).astype(np.float32)


def to_codes(y: Quantizer) -> F32:
    """[2] = (1 / s, z)."""
    return np.array([1 / y.decoder.scale, y.decoder.zero], np.float32)


def score_scale(q: F64, k: F64, scale: float) -> F32:
    """S[h] = s_q[h] s_k[h] scale 255 / 6.4: index steps per unit of the score sum."""
    return np.asarray(q * k * (scale * STEPS / NATS), np.float64).astype(np.float32)


def exponent_scale(heads: int, scale: float) -> F32:
    """S[h] = scale log2(e) of float16 attention: exponents of two per unit of a score. [heads]."""
    return np.full(heads, scale / math.log(2), np.float32)


def _erf_gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def _tanh_gelu(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


UNARY: dict[str, Callable[[float], float]] = {
    "gelu": _erf_gelu,
    "gelu_tanh": _tanh_gelu,
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
}


def activation_table(kind: str, x: Uniform, y: Uniform | Carried) -> npt.NDArray[Any]:
    """[256] entries of y at index (8-bit code of x) + 128, for a function of `UNARY`."""
    return (y if isinstance(y, Carried) else carried(y)).entries(_of_every_code(kind, x))


def gate_table(kind: str, x: Uniform) -> F32:
    """[256] values of an activation function of `UNARY` at index (8-bit code of x) + 128."""
    return _of_every_code(kind, x).astype(np.float32)


def _of_every_code(kind: str, x: Uniform) -> F64:
    return np.array([UNARY[kind](value) for value in x.values(CODES).tolist()])
