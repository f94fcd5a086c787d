"""What each operator of the integer network computes, in torch: one file an operator, found by its class.

Written apart from the oracle and by another route, so that agreement of the two means something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

# (operator, its constants by field, its inputs) to its output.
RULES: Registry[type, Callable[..., Tensor]] = Registry("rule of the torch reference", __name__, UnsupportedError)
