"""A chunk of blocks ready to run one entry: registers as arrays over lanes, memories, addresses of variables.

Generic addresses: shared and local memory are windows far above global memory, as on a GPU. Source: PTX ISA, 5.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.ptx.copies import Copies
from lampq_tvm.ptx.errors import refuse
from lampq_tvm.ptx.handover import Handover
from lampq_tvm.ptx.lanes import Active, Lanes
from lampq_tvm.ptx.memory import Memory
from lampq_tvm.ptx.module import Address, Immediate, Operand, Register, Special, Symbol, Variable
from lampq_tvm.ptx.shared import Shared
from lampq_tvm.ptx.types import ITEMS, TYPES, UNSIGNED, Array, bits_of, is_signed

SHARED_BASE, LOCAL_BASE, WINDOW = 1 << 44, 2 << 44, 1 << 32
Getter = Callable[[], Array]
Putter = Callable[[Array, Active], None]


@dataclass(frozen=True)
class Layout:
    """Where an entry's variables lie: addresses by name, and bytes of shared and local memory."""

    places: dict[str, int]
    shared_bytes: int
    local_bytes: int


def layout(variables: dict[str, Variable], dynamic_bytes: int, placed: dict[str, int]) -> Layout:
    """Lay out shared and local variables; arrays of unknown length start where the static ones end.

    Args:
        variables: of the module and the entry.
        dynamic_bytes: of shared memory that the launch adds.
        placed: addresses of globals, constants and parameters.
    """
    places = dict(placed)
    tops = {"shared": 0, "local": 0}
    for each in sorted(variables.values(), key=lambda v: v.size == 0):
        if each.space in tops:
            start = -(-tops[each.space] // each.align) * each.align
            places[each.name] = start
            if each.size:
                tops[each.space] = start + each.size
    ends = [places[v.name] for v in variables.values() if v.space == "shared" and v.size == 0]
    return Layout(places, max([tops["shared"], *ends]) + dynamic_bytes, tops["local"])


class Machine:
    """What an instruction's meaning is bound to.

    Args:
        lanes: geometry of the chunk.
        memory: global memory.
        place: of the variables.
        params: the parameter block, bytes.
        check: watch shared memory.
        handover: watches global memory, if given.
    """

    def __init__(
        self, lanes: Lanes, memory: Memory, place: Layout, params: Array, check: bool, handover: Handover | None = None
    ) -> None:
        self.lanes, self.memory, self.params = lanes, memory, params
        self.shared = Shared(lanes, place.shared_bytes, check)
        self.copies = Copies(self.shared, lanes.count)
        self.check, self._handover = check, handover
        self._local_bytes = place.local_bytes
        self._local_stride = -(-max(place.local_bytes, 1) // 16) * 16
        self._local = np.zeros(self._local_stride * lanes.count, np.uint8)
        self._places = place.places
        self._registers: dict[str, Array] = {}
        self._constants: dict[tuple[int, str], Array] = {}

    def raw(self, register: Register) -> Array:
        """A register's bits, [L], as unsigned integers or bools; the array is the register."""
        if register.name not in self._registers:
            dtype = np.dtype(np.bool_) if register.type == "pred" else UNSIGNED[bits_of(register.type)]
            self._registers[register.name] = np.zeros(self.lanes.count, dtype)
        return self._registers[register.name]

    def source(self, operand: Operand, kind: str) -> Array | Getter:
        """How to read an operand as a PTX type: an array [L] that stays valid, or a function that returns one.

        A register that is wider than the type gives its low bits.
        """
        dtype = TYPES[kind]
        if isinstance(operand, Register):
            raw = self.raw(operand)
            if kind == "pred" or raw.dtype == np.bool_:
                return (lambda: ~raw) if operand.negated else raw
            if raw.dtype.itemsize == dtype.itemsize:
                return raw.view(dtype)
            if raw.dtype.itemsize > dtype.itemsize:
                low = UNSIGNED[dtype.itemsize * 8]
                return lambda: raw.astype(low).view(dtype)
            raise UnsupportedError(f"a {register_bits(raw)}-bit register {operand.name} is read as {kind}")
        if isinstance(operand, Special):
            return self._constant(operand.name, kind, self.lanes.special(operand.name))
        if isinstance(operand, Immediate):
            return self._constant(str(operand), kind, np.full(self.lanes.count, _immediate(operand, kind), dtype))
        if isinstance(operand, Symbol):
            value = self.place(operand)
            return self._constant(str(operand), kind, np.full(self.lanes.count, value, np.uint64))
        raise UnsupportedError(f"{operand} is not a value")

    def target(self, operand: Operand, kind: str) -> Putter:
        """How to write [L] results of a PTX type; a wider register gets them extended by the type's sign."""
        if not isinstance(operand, Register):
            return lambda _values, _active: None
        raw = self.raw(operand)
        view = self._extended(raw, kind)
        return lambda values, active: active.put(view, values)

    def picked_target(self, operand: Operand, kind: str) -> Putter:
        """As `target`, for [A] results of the active lanes."""
        if not isinstance(operand, Register):
            return lambda _values, _active: None
        view = self._extended(self.raw(operand), kind)
        return lambda values, active: active.put_picked(view, values)

    def address(self, operand: Operand) -> Getter:
        """How to compute an address operand, [L] uint64 (of its state space)."""
        assert isinstance(operand, Address)
        offset = np.uint64(operand.offset % (1 << 64))
        if isinstance(operand.base, Register):
            wide = operand.base.type.endswith("64")
            source = self.source(operand.base, "u64" if wide else "u32")
            assert isinstance(source, np.ndarray)
            base = source
            if wide:
                return (lambda: base + offset) if operand.offset else (lambda: base)
            step = np.uint32(operand.offset % (1 << 32))
            return lambda: (base + step).astype(np.uint64)
        start = self.place(operand.base) if operand.base is not None else 0
        fixed = np.full(self.lanes.count, start + operand.offset, np.uint64)
        return lambda: fixed

    def place(self, symbol: Symbol) -> int:
        """The address of a variable in its state space."""
        if symbol.name not in self._places:
            raise UnsupportedError(f"{symbol.name} is not a variable")
        return self._places[symbol.name] + symbol.offset

    def load(self, space: str, addresses: Array, width: int, lanes: Array, watch: bool = True) -> Array:
        """[A] items of `width` bytes from a state space; `generic` finds the space by the address."""
        if space == "shared":
            return self.shared.gather(addresses, width, lanes, watch)
        if space == "local":
            return self._local.view(ITEMS[width])[self._local_places(addresses, width, lanes)]
        if space == "param":
            return self.params.view(ITEMS[width])[self._param_places(addresses, width, lanes)]
        if space == "generic":
            result = np.zeros(addresses.size, ITEMS[width])
            for inner, mask, base in _windows(addresses):
                result[mask] = self.load(inner, addresses[mask] - base, width, lanes[mask], watch)
            return result
        found = self.memory.gather(addresses, width, lanes)
        if self._handover is not None and watch:
            self._handover.reads(addresses, width, lanes, self.lanes)
        return found

    def store(self, space: str, addresses: Array, values: Array, lanes: Array, watch: bool = True) -> None:
        """Put [A] items into a state space."""
        if space == "shared":
            self.shared.scatter(addresses, values, lanes, watch)
        elif space == "local":
            self._local.view(values.dtype)[self._local_places(addresses, values.dtype.itemsize, lanes)] = values
        elif space == "generic":
            for inner, mask, base in _windows(addresses):
                self.store(inner, addresses[mask] - base, values[mask], lanes[mask], watch)
        else:
            self.memory.scatter(addresses, values, lanes)
            if self._handover is not None and watch:
                self._handover.writes(addresses, values.dtype.itemsize, lanes, self.lanes)

    def barrier(self, blocks: Array | None) -> None:
        """Blocks of the chunk, all where None, meet at a barrier."""
        self.shared.barrier(blocks)
        if self._handover is not None:
            self._handover.meets((np.arange(self.lanes.blocks) if blocks is None else blocks) + self.lanes.first)

    def fence(self, active: Active) -> None:
        """Lanes order their accesses for the whole device."""
        if self._handover is not None:
            self._handover.fences(active.index, self.lanes)

    def counted(self, active: Active) -> None:
        """Lanes executed an atomic operation on global memory."""
        if self._handover is not None:
            self._handover.counts(active.index, self.lanes)

    def _local_places(self, addresses: Array, width: int, lanes: Array) -> Array:
        offsets = _checked(addresses, width, self._local_bytes, lanes, "local")
        return np.asarray((offsets + lanes * self._local_stride) // width)

    def _param_places(self, addresses: Array, width: int, lanes: Array) -> Array:
        return _checked(addresses, width, self.params.size, lanes, "param") // width

    def _constant(self, name: str, kind: str, values: Array) -> Array:
        """A read-only array per distinct value."""
        key = (hash(name), kind)
        if key not in self._constants:
            self._constants[key] = values if values.dtype == TYPES[kind] else values.astype(TYPES[kind])
        return self._constants[key]

    def _extended(self, raw: Array, kind: str) -> Array:
        if raw.dtype == np.bool_ or kind == "pred":
            return raw
        dtype = TYPES[kind]
        if raw.dtype.itemsize == dtype.itemsize:
            return raw.view(dtype)
        return raw.view(f"i{raw.dtype.itemsize}") if is_signed(kind) else raw


def register_bits(raw: Array) -> int:
    """Width of a register from its array."""
    return raw.dtype.itemsize * 8


def _immediate(operand: Immediate, kind: str) -> int | float | bool:
    """A literal's value as a PTX type; a float's literal holds its bits, which integer types take as they are."""
    if kind == "pred":
        return operand.value != 0
    dtype = TYPES[kind]
    if dtype.kind == "f":
        if operand.kind == "int":
            return operand.value
        bits = np.array(operand.value, UNSIGNED[64 if operand.kind == "f64" else 32])
        return float(bits.view(np.float64 if operand.kind == "f64" else np.float32))
    value = operand.value % (1 << dtype.itemsize * 8)
    return value - (1 << dtype.itemsize * 8) if dtype.kind == "i" and value >> (dtype.itemsize * 8 - 1) else value


def _windows(addresses: Array) -> list[tuple[str, Array, np.uint64]]:
    """Generic addresses by state space: its name, who, and what to subtract."""
    found = []
    for name, base in (("shared", SHARED_BASE), ("local", LOCAL_BASE)):
        mask = (addresses >= np.uint64(base)) & (addresses < np.uint64(base + WINDOW))
        if mask.any():
            found.append((name, mask, np.uint64(base)))
    rest = ~np.logical_or.reduce([m for _, m, _ in found]) if found else np.ones(addresses.size, np.bool_)
    return [*found, ("global", rest, np.uint64(0))] if rest.any() else found


def _checked(addresses: Array, width: int, size: int, lanes: Array, space: str) -> Array:
    offsets = addresses.astype(np.int64)
    bad = (offsets < 0) | (offsets + width > size) | (offsets & (width - 1) != 0)
    refuse(bad, addresses, lanes, f"uses {width} bytes outside {space} memory, or misaligned")
    return offsets // 1
