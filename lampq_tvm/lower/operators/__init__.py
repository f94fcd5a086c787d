"""Which kernels each operator of the integer network calls on a CPU, with which constants: one file an operator.

A rule takes the operator and the context, in which the shapes of all values are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from lampq_tvm.lower.kernel import Call

RULES: Registry[type, Callable[..., list[Call]]] = Registry("CPU kernel of an operator", __name__, UnsupportedError)
