"""Operators of the integer network, one file each: what it computes from which constants, and the shape of its output."""

from __future__ import annotations

from lampq_tvm.errors import CorruptError
from lampq_tvm.quantize.op import QOp
from lampq_tvm.registry import Registry

OPERATORS: Registry[str, type[QOp]] = Registry("integer operator", __name__, CorruptError)
