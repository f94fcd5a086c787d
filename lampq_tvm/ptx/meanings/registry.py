"""The library of meanings: how an instruction's text is found, and the forms that a meaning takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lampq_tvm.ptx.errors import UnknownInstructionError
from lampq_tvm.ptx.lanes import Active
from lampq_tvm.ptx.machine import Machine
from lampq_tvm.ptx.module import Instruction
from lampq_tvm.ptx.types import TYPES, Array

Step = Callable[[Active], None]


@dataclass(frozen=True)
class Lanewise:
    """Each lane computes its results from its own operands.

    Attributes:
        function: [L] operands to an [L] result, or a tuple of results; it never writes to its operands.
        sources: PTX types of the source operands; the last operands may be fewer.
        results: PTX types of the destinations.
    """

    function: Callable[..., Array | tuple[Array, ...]]
    sources: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """An instruction that touches memory, or lanes of its warp.

    Attributes:
        bind: makes the step on a machine.
        together: the source operand whose value is the mask of lanes that run it together; -1: the whole warp;
            None: no lane waits for another.
    """

    bind: Callable[[Machine], Step]
    together: int | None = None


@dataclass(frozen=True)
class Flow:
    """An instruction that moves the lanes' program counters: `bra`, `brx`, `exit`, `ret`, `bar`, `trap`."""

    kind: str


Meaning = Lanewise | Effect | Flow
Maker = Callable[[Instruction], Meaning]
_LIBRARY: dict[str, Maker] = {}


def meaning(*opcodes: str) -> Callable[[Maker], Maker]:
    """Enter a function into the library: it gets an instruction and returns its meaning."""

    def enter(maker: Maker) -> Maker:
        for opcode in opcodes:
            assert opcode not in _LIBRARY, opcode
            _LIBRARY[opcode] = maker
        return maker

    return enter


def find(instruction: Instruction) -> Meaning:
    """The meaning of an instruction.

    Raises:
        UnknownInstructionError: the library has none for this mnemonic.
    """
    maker = _LIBRARY.get(instruction.opcode)
    if maker is None:
        raise unknown(instruction)
    return maker(instruction)


def unknown(instruction: Instruction) -> UnknownInstructionError:
    """The error for an instruction, or a form of it, without a meaning."""
    where = f"PTX line {instruction.line}"
    return UnknownInstructionError(f"no meaning is known for {instruction.mnemonic} ({instruction.text})", where=where)


def opcodes() -> frozenset[str]:
    """Every opcode in the library."""
    return frozenset(_LIBRARY)


def parts(instruction: Instruction, *flags: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """A mnemonic's types in order, and its other modifiers, each of which must be one of `flags`.

    Raises:
        UnknownInstructionError: another modifier stands there.
    """
    types = tuple(m for m in instruction.modifiers if m in TYPES)
    others = frozenset(m for m in instruction.modifiers if m not in TYPES)
    if not others <= set(flags):
        raise unknown(instruction)
    return types, others


def only(instruction: Instruction, types: tuple[str, ...], allowed: str) -> str:
    """The one type of a mnemonic, which must be among `allowed` (separated by blanks)."""
    if len(types) != 1 or types[0] not in allowed.split():
        raise unknown(instruction)
    return types[0]
