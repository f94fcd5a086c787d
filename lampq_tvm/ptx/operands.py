"""Operands of PTX instructions, parsed. Source: PTX ISA, 4.5 Constants and 6 Instruction Operands."""

from __future__ import annotations

import re
from collections.abc import Callable

from lampq_tvm.errors import CorruptError
from lampq_tvm.ptx.module import Address, Immediate, Operand, Pair, Register, Sink, Special, Symbol, Vector

Lookup = Callable[[str], Register | None]
NUMBER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|\d+)U?$")
REAL = re.compile(r"0([fFdD])([0-9a-fA-F]+)$")
NAME = re.compile(r"[A-Za-z_$%][\w$]*(\.[xyzw])?$")
OFFSET = re.compile(r"(.+?)\s*([+-])\s*(-?(?:0[xX][0-9a-fA-F]+|\d+))$")
SPECIAL = re.compile(
    r"%(?:n?tid\.[xyzw]|n?ctaid\.[xyzw]|laneid|warpid|nwarpid|lanemask_(?:eq|le|lt|ge|gt)|(?:dynamic|total)_smem_size|clock(?:64)?)$"
)


def split(text: str) -> list[str]:
    """Cut at the commas that stand in no brackets.

    >>> split("{%r1, %r2}, [%rd1+4], 7")
    ['{%r1, %r2}', '[%rd1+4]', '7']
    """
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "{[(":
            depth += 1
        elif c in "}])":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def number(text: str) -> Immediate | None:
    """A literal, or None: `12`, `-3`, `0x1FU`, `0f3F800000`, `0d...`.

    >>> number("-0x10")
    Immediate(value=-16, kind='int')
    """
    if NUMBER.match(text):
        return Immediate(int(text.rstrip("U"), 0 if "x" in text.lower() else 10))
    if found := REAL.match(text):
        return Immediate(int(found[2], 16), "f32" if found[1] in "fF" else "f64")
    return None


def operand(text: str, lookup: Lookup) -> Operand:
    """One operand.

    Args:
        text: without outer blanks.
        lookup: finds a declared register by its name.
    """
    if text == "_":
        return Sink()
    if text[0] == "{":
        return Vector(tuple(operand(part, lookup) for part in split(text[1:-1])))
    if text[0] == "[":
        return _address(text[1:-1].strip(), lookup)
    if "|" in text:
        first, second = text.split("|")
        return Pair(operand(first.strip(), lookup), operand(second.strip(), lookup))
    if text[0] == "!":
        register = lookup(text[1:].strip())
        if register is None:
            raise CorruptError("not a predicate", where=text)
        return Register(register.name, register.type, True)
    literal = number(text)
    return literal if literal is not None else _named(text, lookup)


def _named(text: str, lookup: Lookup) -> Operand:
    register = lookup(text)
    if register is not None:
        return register
    if text == "WARP_SZ":
        return Immediate(32)
    if SPECIAL.match(text):
        return Special(text)
    if NAME.match(text):
        return Symbol(text)
    if found := OFFSET.match(text):
        return Symbol(found[1], int(found[2] + found[3], 0))
    raise CorruptError("not a PTX operand", where=text)


def _address(text: str, lookup: Lookup) -> Address:
    literal = number(text)
    if literal is not None:
        return Address(None, literal.value)
    offset = 0
    if found := OFFSET.match(text):
        text, offset = found[1], int(found[3], 0) * (-1 if found[2] == "-" else 1)
    base = _named(text, lookup)
    if not isinstance(base, Register | Symbol):
        raise CorruptError("not a PTX address", where=text)
    return Address(base, offset)
