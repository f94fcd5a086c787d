"""What a quantizer is: how values become codes, and what a code stands for."""

from __future__ import annotations

import dataclasses
import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UsageError
from lampq_tvm.kinds import Kind
from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from typing_extensions import Self

Array = npt.NDArray[Any]
F64 = npt.NDArray[np.float64]
Described = dict[str, str | int | float | tuple[int, ...]]
Role = Literal["weights", "activations", "operands", "probabilities"]


@dataclass(frozen=True, eq=False)
class Affine:
    """A code stands for scale * (code - zero); both are numbers, or arrays that broadcast onto the codes."""

    scale: Any
    zero: Any = 0

    def values(self, codes: npt.ArrayLike) -> F64:
        """What codes stand for."""
        return np.asarray(self.scale * (np.asarray(codes, np.float64) - self.zero))


@dataclass(frozen=True, eq=False)
class Levels:
    """A code stands for scale * table[code], codes counting from 0.

    Attributes:
        table: [at most 2^bits] integers that kernels multiply: of 8 bits, or of 16 where 8 would flatten the quantizer.
        scale: of one of them.
    """

    table: Array
    scale: float
    zero: ClassVar[int] = 0

    def values(self, codes: npt.ArrayLike) -> F64:
        """What codes stand for."""
        return np.asarray(self.scale * self.table[np.asarray(codes)].astype(np.float64))


class Quantizer(ABC):
    """How values become codes and codes values: a frozen dataclass, whose fields are its parameters.

    Attributes:
        name: under which it is found.
        roles: what it may be named for, in recipes and plans.
        clips_below: whether candidates for a range depend on its lower end too, so that both ends are searched.
    """

    name: ClassVar[str] = ""
    roles: ClassVar[frozenset[str]] = frozenset()
    clips_below: ClassVar[bool] = True

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """Of its codes."""

    @abstractmethod
    def encode(self, x: npt.ArrayLike) -> Array:
        """The codes of values, in the array type of their kind."""

    @property
    @abstractmethod
    def decoder(self) -> Affine | Levels:
        """What a code stands for."""

    @classmethod
    @abstractmethod
    def candidates(cls, low: Any, high: Any, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Self]:
        """Quantizers to try for values in low .. high.

        Args:
            low, high: smallest and largest value; of weights and operands an array, for each channel or head.
            bits: width of the codes.
            fractions: of the range, the whole of it (1) first: so the first candidate clips nothing. As many candidates for
                each, where there is more than the range to choose.
        """

    @classmethod
    def fit(cls, centres: F64, mass: F64, bits: int) -> Self | None:
        """That of values [B], rising, whose errors count as `mass` [B] says; None: ranges are searched instead."""
        return None

    def values(self, codes: npt.ArrayLike) -> F64:
        """What codes stand for."""
        return self.decoder.values(codes)

    @property
    def described(self) -> Described:
        """Its name, and those of its parameters that are numbers."""
        return {"name": self.name} | {name: array.item() for name, array in self.arrays().items() if not array.ndim}

    def arrays(self) -> dict[str, Array]:
        """Its parameters as arrays, by name."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The quantizer whose `arrays` these are."""
        return cls(**{name: array if array.ndim else array.item() for name, array in arrays.items()})


Q = TypeVar("Q", bound=type[Quantizer])
QUANTIZERS: Registry[str, type[Quantizer]] = Registry("quantizer", "lampq_tvm.quantizers")


def quantizer(name: str, *roles: Role) -> Callable[[Q], Q]:
    """Decorator that registers a quantizer under a name, for what it may be named for."""

    def register(found: Q) -> Q:
        found.name, found.roles = name, frozenset(roles)
        QUANTIZERS.add(name, found)
        return found

    return register


def names(role: Role) -> tuple[str, ...]:
    """Names of the quantizers of a role."""
    return tuple(sorted(name for name in QUANTIZERS if role in QUANTIZERS[name].roles))


def find(name: str, role: Role, where: str | None = None) -> type[Quantizer]:
    """The quantizer of a name.

    Raises:
        UsageError: there is none, or it is not of the role; the hint offers others.
    """
    known = names(role)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"unknown quantizer of {role} {name!r}", where=where, hint=hint)
    return QUANTIZERS[name]
