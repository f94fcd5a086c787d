"""What the operators of an exported graph mean, by their names there: rules of one kind in each file.

A rule takes the trace and the node's arguments, of which those that depend on the image are abstract values, and returns one;
it refuses what it does not know. A function more, in a file of its own, is an operator more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

RULES: Registry[str, Callable[..., Any]] = Registry("operator of an exported graph", __name__, UnsupportedError)
