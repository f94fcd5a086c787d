"""What the recognizer knows of a value: which elements of which recognized operator's output it holds, and how changed.

Every element of every recognized value has a number. A view, a permutation, a split or a concatenation only moves
elements, so it is followed by applying the very same ATen operator to the numbers. Whatever way a model writes the
split of qkv into heads, the numbers say in the end which channel of which token sits where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    """A step of a LayerNorm or RMSNorm written out over the last axis of element[ids].

    Attributes:
        kind: mean, centred (x - mean), squares (of centred), variance, deviation (its root) or inverse (of the root); of
            RMSNorm power (the mean of the squares of x itself), root (of that) or inverse_root; or length, the root of the
            sum of the squares of x itself.
        eps: added to the variance or power; the smallest length.
    """

    kind: str
    ids: Tensor
    eps: float = 0.0

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """Statistics are only passed on unchanged; a length may be repeated along its vector."""
        after = move(self.ids[..., :1])
        whole = self.kind == "length" and isinstance(after, Tensor) and after.shape == self.ids.shape
        return self if whole else NotImplemented


@dataclass(frozen=True, eq=False)
class Unit:
    """factor * element[ids] over the length of the vectors that the elements were in, at least eps."""

    ids: Tensor
    eps: float
    factor: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self.ids.shape)

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """The value after a movement."""
        ids = move(self.ids)
        return replace(self, ids=ids) if isinstance(ids, Tensor) else [replace(self, ids=i) for i in ids]


@dataclass(frozen=True, eq=False)
class Turned:
    """factor * (first + second): elements and their partners, each times a constant of its own (rotary embedding)."""

    first: Elements
    second: Elements
    factor: float = 1.0

    @property
    def ids(self) -> Tensor:
        """Numbers of the elements that are turned."""
        return self.first.ids

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.first.shape

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """The value after a movement."""
        first, second = self.first.moved(move), self.second.moved(move)
        if isinstance(first, Elements):
            return replace(self, first=first, second=second)
        return [replace(self, first=a, second=b) for a, b in zip(first, second, strict=True)]


@dataclass(frozen=True, eq=False)
class Scores:
    """Attention scores q k^T * factor + bias, or their softmax; q, k: [..., T, head_dim], q a constant in attention pooling.

    Attributes:
        factor: a number, or one for each of the leading axes.
        softmax: whether the softmax over the last axis was taken.
        bias: None for zero, else a constant of the scores' shape.
    """

    q: Elements | Unit | Turned | Tensor
    k: Elements | Unit | Turned
    factor: float | Tensor
    softmax: bool
    leading: tuple[int, ...]
    bias: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value, [..., T, T]."""
        return (*self.leading, self.q.shape[-2], self.k.shape[-2])

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """Only a change of the leading axes can be followed (the two sequence axes stay as they are)."""
        rows, columns = self.shape[-2:]
        count = torch.arange(torch.Size(self.shape).numel())
        after = move(count.reshape(self.shape))
        same = isinstance(after, Tensor) and after.shape[-2:] == (rows, columns) and torch.equal(after.flatten(), count)
        if not same:
            return NotImplemented
        bias = None if self.bias is None else self.bias.reshape(after.shape)
        factor = self.factor.reshape(after.shape[:-2]) if isinstance(self.factor, Tensor) else self.factor
        return replace(self, leading=tuple(after.shape[:-2]), bias=bias, factor=factor)


@dataclass(frozen=True, eq=False)
class Branches:
    """The sum of several linear layers' outputs: parallel branches on their way to the stream, or heads to their average."""

    parts: tuple[Elements, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.parts[0].shape

    def moved(self, move: Callable[[Tensor], Any]) -> Any:
        """Sums are only passed on unchanged."""
        return NotImplemented


Known = Union[Elements, Curve, Statistic, Unit, Turned, Scores, Branches]  # noqa: UP007  (isinstance needs the tuple below)
KNOWN = (Elements, Curve, Statistic, Unit, Turned, Scores, Branches)
