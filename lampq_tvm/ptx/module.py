"""A PTX module as data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Register:
    """A register; `negated` is a predicate's exclamation mark."""

    name: str
    type: str
    negated: bool = False


@dataclass(frozen=True)
class Special:
    """A read-only register of the machine, as `%tid.x`."""

    name: str


@dataclass(frozen=True)
class Immediate:
    """A number; of kind `f32` or `f64` the value holds the float's bits, of kind `int` the integer."""

    value: int
    kind: str = "int"


@dataclass(frozen=True)
class Symbol:
    """The address of a variable or label, plus bytes."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Address:
    """What stands in brackets: a register or symbol (None: an absolute address) plus bytes."""

    base: Register | Symbol | None
    offset: int


@dataclass(frozen=True)
class Vector:
    """Operands in braces."""

    items: tuple[Operand, ...]


@dataclass(frozen=True)
class Pair:
    """Two destinations, as `%r1|%p1`."""

    first: Operand
    second: Operand


@dataclass(frozen=True)
class Sink:
    """A destination that is not wanted, written `_`."""


Operand = Register | Special | Immediate | Symbol | Address | Vector | Pair | Sink


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        line: in the PTX text, from 1.
        text: as it stands there.
        guard: its predicate, or None.
        opcode: the first part of the mnemonic.
        modifiers: the other parts.
        operands: as written, destinations first.
        targets: places of the instructions that it may branch to.
    """

    line: int
    text: str
    guard: Register | None
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    targets: tuple[int, ...] = ()

    @property
    def mnemonic(self) -> str:
        """Opcode and modifiers with dots."""
        return ".".join((self.opcode, *self.modifiers))


@dataclass(frozen=True)
class Variable:
    """A variable of a state space.

    Attributes:
        name: unique in its module or entry.
        space: `global`, `const`, `shared`, `local` or `param`.
        align: bytes.
        size: bytes; 0 for an `.extern .shared` array, which starts where the static ones end.
        data: initial bytes of a global or constant, or None.
        type: of an element.
    """

    name: str
    space: str
    align: int
    size: int
    type: str
    data: bytes | None = None


@dataclass(frozen=True)
class Param:
    """A parameter of an entry: `offset` and `size` in bytes in its parameter block."""

    name: str
    type: str
    offset: int
    size: int


@dataclass
class Entry:
    """A kernel."""

    name: str
    params: tuple[Param, ...]
    variables: dict[str, Variable] = field(default_factory=dict)
    instructions: tuple[Instruction, ...] = ()


@dataclass
class Module:
    """A parsed PTX text."""

    version: str
    target: str
    variables: dict[str, Variable] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
