"""What each operator of the integer network computes, by the arithmetic table: one file an operator, found by its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

Array = npt.NDArray[Any]
# (operator, its constants by field, its inputs) to its output.
RULES: Registry[type, Callable[..., Array]] = Registry("rule of the oracle", __name__, UnsupportedError)
