"""PTX text to a `Module`, as far as NVRTC writes it: entries, no functions. Source: PTX ISA, 5 and 11."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from lampq_tvm.errors import CorruptError
from lampq_tvm.ptx.module import Entry, Instruction, Module, Param, Register, Symbol, Variable
from lampq_tvm.ptx.operands import number, operand, split
from lampq_tvm.ptx.scan import Statement, statements
from lampq_tvm.ptx.types import bits_of

PARAM = re.compile(r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(?:\.ptr\b[^,]*?\s)?([\w$]+)(?:\[(\d+)\])?$")
REG = re.compile(r"\.reg\s+\.(\w+)\s+(.+)$", re.S)
VARIABLE = re.compile(
    r"(?:\.(extern|visible|weak)\s+)?\.(global|const|shared|local)\s+(?:\.attribute\([^)]*\)\s*)?(?:\.align\s+(\d+)\s+)?"
    r"(?:\.v([24])\s+)?\.(\w+)\s+([\w$]+)((?:\[\d*\])*)\s*(?:=\s*(.+))?$",
    re.S,
)
INSTRUCTION = re.compile(r"(?:@(!?)\s*([\w$%]+)\s+)?([a-z]\w*)((?:\.[\w:]+)*)\s*(.*)$", re.S)
BRANCHES = re.compile(r"\.branchtargets\s+(.+)$", re.S)


def parse(text: str) -> Module:
    """Parse a PTX text.

    Raises:
        CorruptError: the text is not PTX as this program knows it.
    """
    version, target = re.search(r"\.version\s+(\S+)", text), re.search(r"\.target\s+(\w+)", text)
    if version is None or target is None:
        raise CorruptError("not a PTX text", hint="expected .version and .target")
    module = Module(version[1], target[1])
    body: _Body | None = None
    pending: Entry | None = None
    depth = skipped = 0
    for item in statements(text):
        if item.kind == "function":
            pending = _entry(item) if ".entry" in item.text else None
        elif item.kind == "open":
            depth += 1
            if depth == 1 and pending is not None:
                body, pending = _Body(pending), None
            elif body is not None:
                body.scopes.append(_Scope())
        elif item.kind == "close":
            depth -= 1
            if body is not None:
                body.close()
                if depth == 0:
                    module.entries[body.entry.name] = body.entry
                    body = None
        elif body is not None:
            body.add(item)
        elif depth == 0 and item.kind == "plain":
            variable = _variable(item)
            module.variables[variable.name] = variable
        else:
            skipped += 1  # headers, and functions: a call has no meaning, so an entry that needs one is refused
    return module


class _Scope:
    """What one pair of braces declares: registers, labels, tables of branch targets."""

    def __init__(self) -> None:
        self.registers: dict[str, Register] = {}
        self.labels: dict[str, int] = {}
        self.tables: dict[str, tuple[str, ...]] = {}
        self.branches: list[int] = []


class _Body:
    """An entry while it is parsed."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.scopes = [_Scope()]
        self.instructions: list[Instruction] = []
        self.count = 0
        self.label = ""

    def add(self, item: Statement) -> None:
        """One statement of the body."""
        if item.kind == "label":
            self.label = item.text[:-1].strip()
            self.scopes[-1].labels[self.label] = len(self.instructions)
        elif item.kind != "plain":
            return
        elif found := REG.match(item.text):
            self._declare(found[1], found[2])
        elif found := BRANCHES.match(item.text):
            self.scopes[-1].tables[self.label] = tuple(split(found[1]))
        elif item.text.startswith(".param"):
            return  # of a call
        elif item.text.startswith("."):
            variable = _variable(item)
            self.entry.variables[variable.name] = variable
        else:
            self._instruction(item)

    def close(self) -> None:
        """Leave the innermost braces: branches find their labels here or further out."""
        scope = self.scopes.pop()
        for at in scope.branches:
            instruction = self.instructions[at]
            label = instruction.operands[-1]
            assert isinstance(label, Symbol)
            names = scope.tables.get(label.name, (label.name,))
            if all(name in scope.labels for name in names):
                targets = tuple(scope.labels[name] for name in names)
                self.instructions[at] = replace(instruction, targets=targets)
            elif self.scopes:
                self.scopes[-1].branches.append(at)
            else:
                raise CorruptError(f"no label {label.name}", where=f"PTX line {instruction.line}")
        if not self.scopes:
            self.entry.instructions = tuple(self.instructions)

    def _declare(self, kind: str, names: str) -> None:
        inner = len(self.scopes) > 1
        for name in split(names):
            stem, _, count = name.partition("<")
            for each in [f"{stem}{i}" for i in range(int(count[:-1]))] if count else [stem]:
                self.count += 1
                unique = f"{each}@{self.count}" if inner else each
                self.scopes[-1].registers[each] = Register(unique, kind)

    def _find(self, name: str) -> Register | None:
        for scope in reversed(self.scopes):
            if name in scope.registers:
                return scope.registers[name]
        return None

    def _instruction(self, item: Statement) -> None:
        found = INSTRUCTION.match(item.text)
        if found is None:
            raise CorruptError("not a PTX instruction", where=f"line {item.line}: {item.text}")
        guard = self._find(found[2]) if found[2] else None
        if guard is not None and found[1]:
            guard = replace(guard, negated=True)
        modifiers = tuple(part for part in found[4].replace("::", "__").split(".") if part)
        operands = () if found[3] == "call" else tuple(operand(part, self._find) for part in split(found[5]))
        if found[3] in ("bra", "brx"):
            self.scopes[-1].branches.append(len(self.instructions))
        self.instructions.append(Instruction(item.line, item.text, guard, found[3], modifiers, operands))


def _entry(item: Statement) -> Entry:
    """An entry's name and parameters, laid out by their alignment."""
    found = re.search(r"\.entry\s+([\w$]+)\s*(?:\((.*?)\))?", item.text, re.S)
    assert found is not None
    params, offset = [], 0
    for part in split(found[2] or ""):
        seen = PARAM.match(part)
        if seen is None:
            raise CorruptError("not a kernel parameter", where=f"PTX line {item.line}: {part}")
        width = bits_of(seen[2]) // 8
        align = int(seen[1] or width)
        offset = -(-offset // align) * align
        params.append(Param(seen[3], seen[2], offset, width * int(seen[4] or 1)))
        offset += params[-1].size
    return Entry(found[1], tuple(params))


def _variable(item: Statement) -> Variable:
    found = VARIABLE.match(item.text)
    if found is None:
        raise CorruptError("not a PTX declaration", where=f"line {item.line}: {item.text}")
    width = bits_of(found[5]) // 8
    count = int(found[4] or 1)
    for length in re.findall(r"\[(\d*)\]", found[7]):
        count *= int(length or 0)
    size = width * count
    data = _initial(found[8], width, size) if found[8] else None
    if data is None and found[2] in ("global", "const"):
        data = bytes(size)
    return Variable(found[6], found[2], int(found[3] or width * int(found[4] or 1)), size, found[5], data)


def _initial(text: str, width: int, size: int) -> bytes:
    """The bytes of an initializer; what it leaves out is zero."""
    values = [number(part) for part in re.sub(r"[{}\s]+", " ", text).replace(" ", "").split(",") if part]
    if any(value is None for value in values):
        raise CorruptError("an initializer that is not made of numbers", where=text[:60])
    mask = (1 << (8 * width)) - 1
    data = np.array([value.value & mask for value in values if value is not None], np.uint64)
    return data.astype(f"<u{width}").tobytes().ljust(size, b"\0")
