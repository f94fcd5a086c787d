"""Conversions. Source: PTX ISA, Data Movement and Conversion Instructions: cvt, cvt.pack, cvta."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from lampq_tvm.ptx.machine import LOCAL_BASE, SHARED_BASE
from lampq_tvm.ptx.meanings.registry import Lanewise, Meaning, meaning, parts, unknown
from lampq_tvm.ptx.meanings.single import ROUNDINGS, canonical, narrow
from lampq_tvm.ptx.module import Instruction
from lampq_tvm.ptx.types import TYPES, Array, bits_of, is_float, is_signed

PACK = re.compile(r"cvt\.pack\.sat\.([su])(2|4|8|16)\.s32(\.b32)?$")
TO_INTEGER: dict[str, Callable[[Array], Array]] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


@meaning("cvt")
def convert(instruction: Instruction) -> Meaning:
    """`d = a` in another type, per lane.

    Integers are cut or extended by the source's sign; `.sat` clamps. Floats become integers in the mode that stands there,
    always clamped, NaN as 0. Numbers become floats rounded once; `.sat` clamps those to 0..1, `.relu` from below to 0.
    `.f16x2.f32 d, a, b` packs `a` into the high half and `b` into the low one.
    """
    if "pack" in instruction.modifiers:
        return pack(instruction)
    types, flags = parts(instruction, *TO_INTEGER, *ROUNDINGS, "sat", "relu")
    if len(types) != 2 or "pred" in types:
        raise unknown(instruction)
    to, of = types
    mode = next(iter(flags - {"sat", "relu"}), "")
    if to == "f16x2":
        if of != "f32" or mode != "rn":
            raise unknown(instruction)
        return Lanewise(_packed_halves(flags), (of, of), ("b32",))
    if is_float(to):
        return Lanewise(_to_float(instruction, to, of, mode, flags), (of,), (to,))
    if is_float(of):
        if mode not in TO_INTEGER:
            raise unknown(instruction)
        return Lanewise(lambda a: clamp_to(TO_INTEGER[mode](a.astype(np.float64)), to), (of,), (to,))
    if mode:
        raise unknown(instruction)
    if "sat" in flags:
        return Lanewise(lambda a: saturate(a, to), (of,), (to,))
    return Lanewise(lambda a: a.astype(TYPES[to]), (of,), (to,))


def pack(instruction: Instruction) -> Meaning:
    """`cvt.pack.sat.T.s32{.b32} d, a, b{, c}`: `a` and `b` clamped to T, `b` lowest, `a` above it, then `c`."""
    found = PACK.match(instruction.mnemonic)
    three = len(instruction.operands) == 4
    if found is None or three != (found[2] != "16") or three != bool(found[3]):
        raise unknown(instruction)
    bits = int(found[2])
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if found[1] == "s" else (0, (1 << bits) - 1)

    def packed(a: Array, b: Array, c: Array | None = None) -> Array:
        low = np.uint32((1 << bits) - 1)
        high, bottom = (np.clip(x, least, most).view(np.uint32) & low for x in (a, b))
        word = high << np.uint32(bits) | bottom
        return word if c is None else c << np.uint32(2 * bits) | word

    return Lanewise(packed, ("s32", "s32", *(["b32"] if three else [])), ("b32",))


@meaning("cvta")
def convert_address(instruction: Instruction) -> Meaning:
    """A generic address from one in a state space, or (`.to`) the other way; shared and local are windows."""
    types, flags = parts(instruction, "to", "global", "shared", "shared__cta", "local", "const", "param")
    spaces = flags - {"to"}
    if len(types) != 1 or len(spaces) != 1 or "param" in spaces:
        raise unknown(instruction)
    space = next(iter(spaces)).removesuffix("__cta")
    base = {"shared": SHARED_BASE, "local": LOCAL_BASE}.get(space, 0)
    if not base:
        return Lanewise(lambda a: a, (types[0],), (types[0],))
    shift = np.uint64(base)
    return Lanewise((lambda a: a - shift) if "to" in flags else (lambda a: a + shift), ("u64",), ("u64",))


def saturate(a: Array, to: str) -> Array:
    """Integers clamped to the range of an integer type."""
    info, source = np.iinfo(TYPES[to]), np.iinfo(a.dtype)
    low, high = max(info.min, source.min), min(info.max, source.max)
    return np.clip(a, a.dtype.type(low), a.dtype.type(high)).astype(TYPES[to])


def clamp_to(whole: Array, to: str) -> Array:
    """Whole numbers in float64, clamped to an integer type; NaN is 0."""
    info = np.iinfo(TYPES[to])
    top = float(info.max)  # of 64 bits: rounded up, so it is compared with, never converted
    small = np.where((whole > float(info.min)) & (whole < top), whole, 0.0).astype(TYPES[to])
    result = np.where(whole >= top, TYPES[to].type(info.max), small)
    return np.where(whole <= float(info.min), TYPES[to].type(info.min), result)


def _to_float(instruction: Instruction, to: str, of: str, mode: str, flags: frozenset[str]) -> Callable[[Array], Array]:
    dtype = TYPES[to]
    if mode in TO_INTEGER:
        if to != of:
            raise unknown(instruction)
        whole = TO_INTEGER[mode]
        return _bounded(lambda a: whole(a), to, flags)
    widens = is_float(of) and bits_of(of) <= bits_of(to)
    if (mode not in ROUNDINGS and not widens) or (mode not in ("", "rn") and to != "f32"):
        raise unknown(instruction)
    if mode not in ("", "rn"):
        if not is_float(of) and bits_of(of) == 64:
            raise unknown(instruction)
        return _bounded(lambda a: narrow(a.astype(np.float64), mode), to, flags)
    if not is_float(of) and to == "f16":
        if bits_of(of) == 64:
            raise unknown(instruction)
        return _bounded(lambda a: a.astype(np.float64).astype(dtype), to, flags)
    assert is_signed(of) or is_float(of) or of[0] == "u", of
    return _bounded(lambda a: a.astype(dtype), to, flags)


def _bounded(function: Callable[[Array], Array], to: str, flags: frozenset[str]) -> Callable[[Array], Array]:
    dtype = TYPES[to]
    if "sat" in flags:
        return lambda a: _unit(function(a), dtype.type(1))
    if "relu" in flags:
        return lambda a: _positive(canonical(function(a), to))
    return lambda a: canonical(function(a), to)


def _unit(a: Array, one: np.floating) -> Array:
    return np.where(a > 0, np.minimum(a, one), one - one)


def _positive(a: Array) -> Array:
    return np.where(np.signbit(a) & (a == a), a.dtype.type(0), a)


def _packed_halves(flags: frozenset[str]) -> Callable[[Array, Array], Array]:
    one = _bounded(lambda a: a.astype(np.float16), "f16", flags)
    shift = np.uint32(16)
    return lambda a, b: one(a).view(np.uint16).astype(np.uint32) << shift | one(b).view(np.uint16)
