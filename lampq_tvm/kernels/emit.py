"""Small pieces that kernels are written with: vectors, loops along K, LLVM's intrinsics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

Argument = tuple[str, tuple[int, ...], str]  # name, shape, dtype


def function(name: str, arguments: Sequence[Argument], body: Callable[..., None], *, apart: bool = True) -> PrimFunc:
    """A kernel of these buffers, the output last; `body` is called with them and writes it.

    Args:
        apart: the buffers never overlap; False where the output may be an input itself.
    """
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            if apart:
                T.func_attr({"tirx.noalias": True})
            buffers = [argument(*each) for each in arguments]
            with T.sblock("root"):
                T.reads()
                T.writes()
                body(*buffers)
        return builder.get()


def argument(name: str, shape: tuple[int, ...], dtype: str) -> Any:
    """The function's next argument."""
    return T.arg(name, T.buffer(shape, dtype))


def steps(count: int, unroll: int) -> Iterator[Expr]:
    """Step numbers 0..count-1: a loop whose body is written `unroll` times, then what is left over."""
    whole = count // unroll
    if whole > 1:
        with T.serial(0, whole) as outer:
            for j in range(unroll):
                yield outer * unroll + j
    first = whole * unroll if whole > 1 else 0
    for k in range(first, count):
        yield tirx.const(k, "int32")


def ramp(start: Expr | int, lanes: int) -> Expr:
    """Indices of `lanes` neighbours."""
    return T.ramp(start, 1, lanes)


def llvm(name: str, dtype: str, *args: Expr) -> Expr:
    """Call of an LLVM intrinsic without side effects."""
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *args, dtype=dtype)


def splat(word: Expr, lanes: int, dtype: str) -> Expr:
    """A word repeated over a vector, read as `dtype`."""
    return T.reinterpret(T.broadcast(word, lanes), dtype=dtype)


def pick(vectors: list[Expr], lanes: list[int]) -> Expr:
    """Lanes of vectors laid end to end; a scalar where there is one."""
    return tirx.Shuffle(vectors, [tirx.const(i, "int32") for i in lanes])


def interleave(rows: list[Expr], count: int, size: int = 1) -> list[Expr]:
    """g rows of `count` bytes to g vectors of as many: each element's place in turn, with the g rows' elements side by side.

    Args:
        size: bytes of an element.
    """
    if len(rows) == 1:
        return rows
    half = len(rows) // 2
    bits, lanes = 8 * half * size, count // (half * size)
    low, high = ([x for i in part for x in (i, lanes + i)] for part in (range(lanes // 2), range(lanes // 2, lanes)))
    turned = []
    for a, b in zip(interleave(rows[:half], count, size), interleave(rows[half:], count, size), strict=True):
        pair = [T.reinterpret(x, dtype=f"int{bits}x{lanes}") if bits > 8 else x for x in (a, b)]
        turned += [pick(pair, places) for places in (low, high)]
    return [T.reinterpret(x, dtype=f"int8x{count}") if bits > 8 else x for x in turned]
