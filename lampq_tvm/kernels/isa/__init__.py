"""Instruction set levels: what each one multiplies, narrows and looks up with, held equal to the oracle by tests.

A level's sizes are data (`lampq_tvm/levels/cpu/`); its file here writes its instructions.
"""

from __future__ import annotations

from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.isa.level import LEVELS

__all__ = ["LEVELS", "dot_for", "weight_peak"]


def weight_peak(w_bits: int) -> int:
    """Largest magnitude of a weight code: 8-bit weights leave -128 out, so that plain NEON adds two products in 16 bits."""
    return 127 if w_bits == 8 else 1 << (w_bits - 1)


def dot_for(isa: str, w_bits: int, a_bits: int) -> Dot:
    """The multiply-add of signed codes of a_bits with weight codes of w_bits on an instruction set level.

    >>> dot_for("vnni", 4, 4).name, dot_for("neon", 8, 8).name, dot_for("neon", 2, 4).name
    ('vnni_u8s8', 'neon_s8s8_2', 'neon_tbl_4_2')
    """
    return LEVELS[isa].weight_dot(weight_peak(w_bits), a_bits)
