"""The multiply-add step of each instruction set: small library entries with an executable meaning."""

from __future__ import annotations

from collections.abc import Callable

from lampq_tvm.kernels.isa import avx2, dotprod, neon, vnni
from lampq_tvm.kernels.isa.dot import Dot

LEVELS: dict[str, Callable[[int, int], Dot]] = {"vnni": vnni.dot, "avx2": avx2.dot, "dotprod": dotprod.dot, "neon": neon.dot}


def dot_for(isa: str, w_bits: int, a_bits: int) -> Dot:
    """The step that multiplies signed codes of a_bits with weight codes of w_bits on an instruction set.

    >>> dot_for("vnni", 4, 4).name, dot_for("neon", 8, 8).depth, dot_for("neon", 4, 4).depth
    ('vnni_u8s8', 1, 16)
    """
    return LEVELS[isa](w_bits, a_bits)
