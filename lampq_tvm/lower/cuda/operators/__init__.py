"""Which CUDA kernels each operator of the integer network launches, with which constants: one file an operator.

A rule takes the operator and the context, in which the shapes of all values are known. Passes have joined operators to those
whose kernel makes them: the rule of such a one asks for its group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from lampq_tvm.lower.cuda.launch import Launch

RULES: Registry[type, Callable[..., list[Launch]]] = Registry("CUDA kernel of an operator", __name__, UnsupportedError)
