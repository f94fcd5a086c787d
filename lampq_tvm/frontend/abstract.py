"""What the recognizer knows of a value: which elements of which recognized operator's output it holds, and how changed.

Every element of every recognized value has a number. A view, a permutation, a split or a concatenation only moves
elements, so it is followed by applying the very same ATen operator to the numbers. Whatever way a model writes the
split of qkv into heads, the numbers say in the end which channel of which token sits where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

import torch
from torch import Tensor

NOTHING = -1
GRID = torch.linspace(-10, 10, 4001, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Elements:
    """scale * element[ids] + offset, elementwise.

    Attributes:
        ids: int64, element numbers; `NOTHING` where there is no element (a constant put beside elements).
        scale: a number, or a tensor of the same shape.
        offset: None for zero, else float32 of the same shape.
    """

    ids: Tensor
    scale: float | Tensor = 1.0
    offset: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self.ids.shape)

    @property
    def plain(self) -> bool:
        """Whether nothing was multiplied or added."""
        return self.offset is None and not isinstance(self.scale, Tensor) and self.scale == 1.0

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """The value after a movement; a list of values where the movement returns several."""
        parts: list[Any] = [move(t) if isinstance(t, Tensor) else t for t in (self.ids, self.scale, self.offset)]
        if isinstance(parts[0], Tensor):
            return Elements(*parts)
        several = [p if isinstance(p, (list, tuple)) else [p] * len(parts[0]) for p in parts]
        return [Elements(*row) for row in zip(*several, strict=True)]


@dataclass(frozen=True, eq=False)
class Curve:
    """f(element[ids]) for a function of one number, known by its values on `GRID`.

    Attributes:
        samples: f(GRID), float64.
    """

    ids: Tensor
    samples: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self.ids.shape)

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """The value after a movement; a list of values where the movement returns several."""
        ids = move(self.ids)
        return Curve(ids, self.samples) if isinstance(ids, Tensor) else [Curve(i, self.samples) for i in ids]


@dataclass(frozen=True, eq=False)
class Statistic:
    """A step of a LayerNorm written out over the last axis of element[ids].

    Attributes:
        kind: mean, centred (x - mean), squares (of centred), variance, deviation (its root) or inverse (of the root).
        eps: added to the variance.
    """

    kind: str
    ids: Tensor
    eps: float = 0.0

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """Statistics are only passed on unchanged."""
        return NotImplemented


@dataclass(frozen=True, eq=False)
class Scores:
    """Attention scores q k^T * factor, or their softmax; q, k: [..., T, head_dim].

    Attributes:
        softmax: whether the softmax over the last axis was taken.
    """

    q: Elements
    k: Elements
    factor: float
    softmax: bool
    leading: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value, [..., T, T]."""
        return (*self.leading, self.q.shape[-2], self.k.shape[-2])

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """Only a change of the leading axes can be followed (the two sequence axes stay as they are)."""
        rows, columns = self.shape[-2:]
        count = torch.arange(len(self.q.ids.reshape(-1, *self.q.shape[-2:])) * rows * columns)
        after = move(count.reshape(self.shape))
        same = isinstance(after, Tensor) and after.shape[-2:] == (rows, columns) and torch.equal(after.flatten(), count)
        return Scores(self.q, self.k, self.factor, self.softmax, tuple(after.shape[:-2])) if same else NotImplemented


@dataclass(frozen=True, eq=False)
class HeadSum:
    """The sum of two linear outputs per image, on its way to their average."""

    first: Elements
    second: Elements

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """Sums are only passed on unchanged."""
        return NotImplemented


Known = Union[Elements, Curve, Statistic, Scores, HeadSum]  # noqa: UP007  (isinstance needs the tuple below)
KNOWN = (Elements, Curve, Statistic, Scores, HeadSum)
