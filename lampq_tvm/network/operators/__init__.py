"""Operators of the float network, one file each: what it is, the shape of its output, what it computes.

torch is imported where an operator runs and nowhere else: whoever only reads a network needs none.
"""

from __future__ import annotations

from lampq_tvm.errors import CorruptError
from lampq_tvm.network.op import FloatOp
from lampq_tvm.registry import Registry

OPERATORS: Registry[str, type[FloatOp]] = Registry("float operator", __name__, CorruptError)
