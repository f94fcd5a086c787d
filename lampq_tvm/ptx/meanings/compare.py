"""Comparison and selection. Source: PTX ISA, Comparison and Selection Instructions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lampq_tvm.ptx.meanings.registry import Lanewise, Meaning, meaning, parts, unknown
from lampq_tvm.ptx.module import Instruction, Pair
from lampq_tvm.ptx.types import TYPES, Array, is_float

ORDERED: dict[str, Callable[..., Array]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
}
NANS = {"equ": "eq", "neu": "ne", "ltu": "lt", "leu": "le", "gtu": "gt", "geu": "ge"}
COMBINE: dict[str, Callable[..., Array]] = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


@meaning("setp")
def set_predicate(instruction: Instruction) -> Meaning:
    """`p = (a ? b) op c`, `q = !(a ? b) op c` per lane, `op` being and, or, xor with a predicate.

    Of floats with a NaN the plain comparisons are false and those that end in u true; `num`: neither is NaN, `nan`: one is.
    """
    compare, combine, kinds = _split(instruction)
    if len(kinds) != 1:
        raise unknown(instruction)

    def decided(a: Array, b: Array, c: Array | None = None) -> Array:
        return compare(a, b) if combine is None or c is None else combine(compare(a, b), c)

    def both(a: Array, b: Array, c: Array | None = None) -> tuple[Array, Array]:
        no = ~compare(a, b)
        return decided(a, b, c), no if combine is None or c is None else combine(no, c)

    sources = (kinds[0], kinds[0], *(["pred"] if combine else []))
    if isinstance(instruction.operands[0], Pair):
        return Lanewise(both, sources, ("pred", "pred"))
    return Lanewise(decided, sources, ("pred",))


@meaning("set")
def set_value(instruction: Instruction) -> Meaning:
    """As `setp`, but the result is all ones (1.0 for floats) or zero."""
    compare, combine, kinds = _split(instruction)
    if len(kinds) != 2 or kinds[0] not in ("u32", "s32", "f32"):
        raise unknown(instruction)
    dtype = TYPES[kinds[0]]
    true = dtype.type(1) if is_float(kinds[0]) else np.array(-1).astype(dtype)

    def decided(a: Array, b: Array, c: Array | None = None) -> Array:
        yes = compare(a, b) if combine is None or c is None else combine(compare(a, b), c)
        return np.where(yes, true, dtype.type(0))

    return Lanewise(decided, (kinds[1], kinds[1], *(["pred"] if combine else [])), (kinds[0],))


@meaning("selp")
def select(instruction: Instruction) -> Meaning:
    """`a` where the predicate holds, else `b`, per lane."""
    types, _ = parts(instruction)
    return Lanewise(lambda a, b, c: np.where(c, a, b), (types[0], types[0], "pred"), (types[0],))


@meaning("slct")
def select_by_sign(instruction: Instruction) -> Meaning:
    """`a` where `c >= 0`, else `b`, per lane."""
    types, _ = parts(instruction)
    return Lanewise(lambda a, b, c: np.where(c >= 0, a, b), (types[0], types[0], types[1]), (types[0],))


def _split(instruction: Instruction) -> tuple[Callable[..., Array], Callable[..., Array] | None, tuple[str, ...]]:
    """The comparison, the operation that combines it, the types."""
    types, flags = parts(instruction, *ORDERED, *NANS, *COMBINE, "num", "nan")
    names = [m for m in instruction.modifiers if m in flags]
    combine = COMBINE[names[1]] if len(names) > 1 and names[1] in COMBINE else None
    if not names or names[0] in COMBINE or len(names) > (2 if combine else 1) or "f16x2" in types:
        raise unknown(instruction)
    floats = bool(types) and is_float(types[-1])
    name = names[0]
    if name in ORDERED:
        return (_not_equal if floats and name == "ne" else ORDERED[name]), combine, types
    if not floats:
        raise unknown(instruction)
    if name in ("num", "nan"):
        return (lambda a, b: (np.isnan(a) | np.isnan(b)) == (name == "nan")), combine, types
    plain = ORDERED[NANS[name]]
    return (lambda a, b: plain(a, b) | np.isnan(a) | np.isnan(b)), combine, types


def _not_equal(a: Array, b: Array) -> Array:
    """Unequal numbers; NumPy's `!=` is true for NaN."""
    return (a < b) | (a > b)
