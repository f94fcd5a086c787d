"""What every operator of the integer network is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kinds import Encode, Kind
from lampq_tvm.network.op import Op
from lampq_tvm.registry import Registry

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R")


@dataclass(frozen=True)
class QOp(Op):
    """An operator of the integer network; its constants are the tensors `{name}.{field}`.

    The first line of a class's docstring is its row in the documentation's table of operators.

    Attributes:
        of: float operators that it stands for, by name; none where quantizing adds it.
    """

    of: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of_fields(cls, row: Mapping[str, Any]) -> Self:
        """From JSON values by field: kinds are words."""
        types = {field.name: str(field.type) for field in fields(cls)}
        return cls(**{name: _made(value, types.get(name, "")) for name, value in row.items()})

    @property
    def packed(self) -> Mapping[str, Kind]:
        """Kind in which the payload stores the codes of a field, by field; every other array is stored as it is."""
        return {}

    @property
    def unweighted(self) -> Mapping[str, Kind]:
        """Products of activations with each other, by what `inspect` calls them, and the kind of their operands."""
        return {}

    def rule(self, rules: Registry[type, R], otherwise: str) -> R:
        """The rule of the operator's class.

        Raises:
            UnsupportedError: there is none; `otherwise` is what it says.
        """
        found = rules.get(type(self))
        if found is None:
            raise UnsupportedError(otherwise, where=f"{self.name} ({type(self).__name__})")
        return found

    def at_widths(self, w_bits: int, a_bits: int) -> QOp:
        """The operator with other widths of its weights and of the codes they are multiplied with, where it has weights."""
        return self


def _made(value: Any, kind: str) -> Any:
    """A field's value from its JSON value."""
    if value is None or not kind.startswith(("Kind", "Encode")):
        return value
    if kind.startswith("Kind"):
        return Kind(value)
    return Encode(Kind(value["grid"]), None if value["table"] is None else Kind(value["table"]))
