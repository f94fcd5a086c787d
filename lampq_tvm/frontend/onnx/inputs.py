"""What rules of ONNX's operators share: how they are given their inputs, and how they refuse.

Inputs are torch tensors, or Python numbers and lists where the importer knows them already; None for one left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor

from lampq_tvm.errors import UnsupportedError

Inputs = Sequence[Any]
Attributes = Mapping[str, Any]
Rule = Callable[[Inputs, Attributes], Any]


def refuse(operator: str, form: str) -> NoReturn:
    """Raise UnsupportedError for a form of an operator."""
    raise UnsupportedError(f"ONNX operator {operator} {form} is not supported")


def option(x: Inputs, index: int) -> Any:
    """An input that may be left out."""
    return x[index] if len(x) > index else None


def numbers(value: Any) -> list[Any]:
    """A constant input as a list; empty for one left out."""
    found = value.tolist() if isinstance(value, Tensor) else value
    return [] if found is None else list(found) if isinstance(found, (list, tuple)) else [found]


def ints(value: Any) -> list[int]:
    """A constant integer input as a list."""
    return [int(v) for v in numbers(value)]


def axes_of(x: Inputs, a: Attributes, index: int = 1) -> list[int] | None:
    """`axes`, an attribute in older opsets and an input in newer ones."""
    given = a.get("axes") if "axes" in a else option(x, index)
    return None if given is None else ints(given)
