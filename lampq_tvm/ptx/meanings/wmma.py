"""Matrix products of a warp with fragments whose layout is nobody's business. Source: PTX ISA, Warp Level Matrix
Instructions: wmma.load, wmma.mma, wmma.store.

A GPU leaves open which lane holds which element, so a kernel may only load, multiply, change every element of a C alike,
and store. Here a fragment of A or B is 32-bit words along K, row by row (of B: column by column), and one of C is its
elements row by row: the first 32 lie in the first register of the lanes, and so on; where registers outnumber the words,
as for halves, they are held several times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lampq_tvm.ptx.errors import Fault
from lampq_tvm.ptx.lanes import WARP, Active
from lampq_tvm.ptx.machine import Getter, Machine
from lampq_tvm.ptx.meanings.matrix import gathered, spread
from lampq_tvm.ptx.meanings.mma import UNPACK
from lampq_tvm.ptx.meanings.move import value
from lampq_tvm.ptx.meanings.registry import Effect, Meaning, Step, meaning, unknown
from lampq_tvm.ptx.module import Instruction, Vector
from lampq_tvm.ptx.types import ITEMS, TYPES, Array

SHAPES = {"m16n16k16": (16, 16), "m32n8k16": (32, 8), "m8n32k16": (8, 32)}
DEPTH = 16
SPACES = ("global", "shared", "shared__cta")
Kinds = tuple[str, str, str, str]
INPUTS, SUMS = ("s8", "u8", "f16"), ("s32", "f16", "f32")


@dataclass(frozen=True)
class Fragment:
    """A part of a matrix in memory: `lines` runs of `length` elements of `kind`, a stride apart; `turned` if the registers
    hold them the other way round.
    """

    lines: int
    length: int
    kind: str
    turned: bool
    registers: int

    @property
    def bytes(self) -> int:
        """Of a lane's registers, to which every line is aligned."""
        return 4 * self.registers


@meaning("wmma")
def warp_matrix(instruction: Instruction) -> Meaning:
    """`load` and `store`: a warp moves a fragment from or to memory, `row` or `col` major, lines `stride` elements apart, each
    aligned to the bytes that a lane holds. `mma`: `D = A B + C` as in `mma`, `.satfinite` clamps.
    """
    action = instruction.modifiers[0]
    if action in ("load", "store"):
        return _transfer(instruction, action)
    names = [m for m in instruction.modifiers if m not in ("mma", "sync", "aligned", "satfinite")]
    if action != "mma" or len(names) not in (5, 7):
        raise unknown(instruction)
    return _multiply(instruction, names)


def _transfer(instruction: Instruction, action: str) -> Meaning:
    _, which, *rest = instruction.modifiers
    shape = next((m for m in rest if m in SHAPES), "")
    spaces = [m.partition("__")[0] for m in rest if m in SPACES]
    kind, major = rest[-1], next((m for m in rest if m in ("row", "col")), "")
    known = {"sync", "aligned", shape, major, kind, *SPACES}
    registers = instruction.operands[0 if action == "load" else 1]
    if not set(rest) <= known or not shape or not major or not isinstance(registers, Vector):
        raise unknown(instruction)
    if kind not in (INPUTS if which in "ab" else SUMS) or len(instruction.operands) != 3:
        raise unknown(instruction)
    rows, columns = SHAPES[shape]
    height, width = {"a": (rows, DEPTH), "b": (DEPTH, columns)}.get(which, (rows, columns))
    lines, length = (height, width) if major == "row" else (width, height)
    along_depth = major == ("col" if which == "b" else "row")
    part = Fragment(lines, length, kind, not along_depth, len(registers.items))
    bind = _bind_load if action == "load" else _bind_store
    space = spaces[0] if spaces else "generic"
    return Effect(lambda machine: bind(machine, part, instruction, space), together=-1)


def _places(part: Fragment, active: Active, base: Array, stride: Array) -> tuple[Array, Array]:
    """Addresses of the elements, [V * lines * length], and the lanes that stand for them in messages."""
    starts, strides = gathered(active, base), gathered(active, stride)
    first = active.warps * WARP
    size = TYPES[part.kind].itemsize
    uneven = (starts != starts[:, :1]).any(axis=1) | (strides != strides[:, :1]).any(axis=1)
    if uneven.any():
        raise Fault("has another address or stride than the rest of its warp", int(first[uneven.argmax()]))
    step = strides[:, 0].astype(np.uint64) * np.uint64(size)
    wrong = (starts[:, 0] | step) % np.uint64(part.bytes) != 0
    if wrong.any():
        at = int(wrong.argmax())
        raise Fault(f"has a matrix line misaligned to {part.bytes} bytes", int(first[at]), int(starts[at, 0]))
    line = np.arange(part.lines)[None, :, None] * step.astype(np.int64)[:, None, None]
    addresses = starts[:, 0].astype(np.int64)[:, None, None] + line + np.arange(part.length) * size
    lanes = first[:, None] + np.arange(part.lines * part.length) % WARP
    return addresses.astype(np.uint64).reshape(-1), lanes.reshape(-1)


def _bind_load(machine: Machine, part: Fragment, instruction: Instruction, space: str) -> Step:
    registers, place, stride = instruction.operands
    items = registers.items if isinstance(registers, Vector) else ()
    address, strides = machine.address(place), machine.source(stride, "u32")
    puts = [machine.target(item, "b32") for item in items]
    dtype = TYPES[part.kind]

    def step(active: Active) -> None:
        addresses, lanes = _places(part, active, address(), value(strides))
        elements = machine.load(space, addresses, dtype.itemsize, lanes).reshape(-1, part.lines, part.length)
        held = elements.swapaxes(1, 2) if part.turned else elements
        flat = np.ascontiguousarray(held).reshape(elements.shape[0], -1).view(np.uint32)
        words = flat.reshape(elements.shape[0], -1, WARP)
        for i, put in enumerate(puts):
            put(spread(machine, active, words[:, i % words.shape[1]]), active)

    return step


def _bind_store(machine: Machine, part: Fragment, instruction: Instruction, space: str) -> Step:
    place, registers, stride = instruction.operands
    items = registers.items if isinstance(registers, Vector) else ()
    address, strides = machine.address(place), machine.source(stride, "u32")
    values = [machine.source(item, "b32") for item in items]
    item = ITEMS[TYPES[part.kind].itemsize]

    def step(active: Active) -> None:
        addresses, lanes = _places(part, active, address(), value(strides))
        held = _words(active, values).view(item)
        shape = (held.shape[0], part.length, part.lines) if part.turned else (held.shape[0], part.lines, part.length)
        elements = held.reshape(shape)
        elements = elements.swapaxes(1, 2) if part.turned else elements
        machine.store(space, addresses, np.ascontiguousarray(elements).reshape(-1), lanes)

    return step


def _multiply(instruction: Instruction, names: list[str]) -> Meaning:
    """`names`: layouts of A and B, which the registers no longer show, the shape, types of D, A, B, C."""
    majors, shape, kinds = names[:2], names[2], names[3:]
    if shape not in SHAPES or not set(majors) <= {"row", "col"} or len(kinds) not in (2, 4):
        raise unknown(instruction)
    d, a, b, c = kinds if len(kinds) == 4 else (kinds[0], "f16", "f16", kinds[1])
    integer = a in ("s8", "u8") and b in ("s8", "u8") and d == c == "s32"
    if not integer and not (a == b == "f16" and d in ("f16", "f32") and c in ("f16", "f32")):
        raise unknown(instruction)
    saturate = "satfinite" in instruction.modifiers
    return Effect(lambda machine: _bind_multiply(machine, instruction, SHAPES[shape], (d, a, b, c), saturate), together=-1)


def _bind_multiply(machine: Machine, instruction: Instruction, shape: tuple[int, int], kinds: Kinds, saturate: bool) -> Step:
    targets, *fragments = ((o.items if isinstance(o, Vector) else (o,)) for o in instruction.operands)
    a, b, c = ([machine.source(item, "b32") for item in items] for items in fragments)
    puts = [machine.target(item, "b32") for item in targets]
    d, akind, bkind, ckind = kinds

    def step(active: Active) -> None:
        left = _matrix(active, a, akind, shape[0])
        right = _matrix(active, b, bkind, shape[1])
        start = _words(active, c).view(TYPES[ckind]).reshape(-1, *shape)
        if d == "s32":
            total = np.matmul(left, right.swapaxes(1, 2)).astype(np.int64) + start
            result = (np.clip(total, -(2**31), 2**31 - 1) if saturate else total).astype(np.int32)
        else:
            exact = np.matmul(left.astype(np.float64), right.astype(np.float64).swapaxes(1, 2)) + start
            result = exact.astype(TYPES[d])
        words = result.reshape(result.shape[0], -1).view(np.uint32).reshape(result.shape[0], -1, WARP)
        for i, put in enumerate(puts):
            put(spread(machine, active, words[:, i]), active)

    return step


def _words(active: Active, sources: list[Array | Getter]) -> Array:
    """A fragment of C in memory's order, [V, words]."""
    return np.concatenate([gathered(active, value(s)) for s in sources], axis=1)


def _matrix(active: Active, sources: list[Array | Getter], kind: str, lines: int) -> Array:
    """A fragment of A or B as numbers, [V, lines, 16]."""
    count = lines * DEPTH * TYPES[kind].itemsize // 4 // WARP
    words = _words(active, sources[:count])
    return UNPACK[kind](words.reshape(words.shape[0], lines, -1))
