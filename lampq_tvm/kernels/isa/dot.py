"""What a multiply-add step is, and its registration as a TVM tensor intrinsic.

A step multiplies `k_block` activations of one row with the weights of `lanes` output channels and adds into int32
lanes. Weights are packed [N / lanes, K / group, lanes, group], so that one vector load feeds one instruction.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.ir import Expr as PrimExpr
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from lampq_tvm.kernels.frames import quick_frames


@dataclass(frozen=True)
class Dot:
    """One instruction set's multiply-add step.

    Attributes:
        name: unique name (with the depth where it matters).
        lanes: int32 lanes of an accumulator vector.
        group: activations per lane and instruction.
        depth: instructions whose 16-bit sums are exact, so that they are widened only once per step.
        a_dtype: type of the multiplied activation: `uint8`, `int8` or `int16`.
        shift: added to a signed code to make the multiplied activation (128 where the hardware wants unsigned ones).
        step: (acc int32xL, a-words [depth], integers that each hold `group` activations, w vectors [depth]
            int8x(L*group)) to the new acc.
    """

    name: str
    lanes: int
    group: int
    depth: int
    a_dtype: str
    shift: int
    step: Callable[[PrimExpr, list[PrimExpr], list[PrimExpr]], PrimExpr]

    @property
    def k_block(self) -> int:
        """Activations of a row that one step consumes; K is padded to a multiple of it."""
        return self.depth * self.group

    @property
    def w_lanes(self) -> int:
        """int8 values in a weight vector."""
        return self.lanes * self.group


def llvm(name: str, dtype: str, *args: PrimExpr) -> PrimExpr:
    """Call of an LLVM intrinsic without side effects."""
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *args, dtype=dtype)


def splat(word: PrimExpr, lanes: int, dtype: str) -> PrimExpr:
    """A word repeated over a vector of 32-bit lanes, read as `dtype`."""
    return T.reinterpret(T.broadcast(word, lanes), dtype=dtype)


def activation_word(buffer: Any, start: list[Any], dot: Dot) -> PrimExpr:
    """`group` activations from `start` on, as one integer."""
    whole = f"int{int(dot.a_dtype.removeprefix('u')[3:]) * dot.group}"
    return T.reinterpret(buffer.vload(start, f"{dot.a_dtype}x{dot.group}"), dtype=whole)


@functools.cache
@quick_frames
def register(dot: Dot) -> str:
    """Register the step as a tensor intrinsic over (A [k_block], W [depth, lanes, group], C [lanes]); returns its name.

    At depth 1 W is [lanes, group]: TVM drops loops of extent 1 from the code that it compares with the meaning.
    """
    name = f"lampq_{dot.name}"
    TensorIntrin.register(name, _shallow(dot) if dot.depth == 1 else _deep(dot), _instructions(dot), override=True)
    return name


def _shallow(dot: Dot) -> Any:
    lanes, group, a_dtype = dot.lanes, dot.group, dot.a_dtype

    @T.prim_func(s_tir=True)
    def meaning(a: T.handle, w: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (group,), a_dtype, offset_factor=1)
        W = T.match_buffer(w, (lanes, group), "int8", offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:group], W[0:lanes, 0:group])
            T.writes(C[0:lanes])
            for i, k in T.grid(lanes, group):
                with T.sblock("update"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    C[vi] = C[vi] + T.cast(A[vk], "int32") * T.cast(W[vi, vk], "int32")

    return meaning


def _deep(dot: Dot) -> Any:
    lanes, group, depth, a_dtype = dot.lanes, dot.group, dot.depth, dot.a_dtype

    @T.prim_func(s_tir=True)
    def meaning(a: T.handle, w: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (depth * group,), a_dtype, offset_factor=1)
        W = T.match_buffer(w, (depth, lanes, group), "int8", offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0 : depth * group], W[0:depth, 0:lanes, 0:group])
            T.writes(C[0:lanes])
            for i, j, k in T.grid(lanes, depth, group):
                with T.sblock("update"):
                    vi, vj, vk = T.axis.remap("SRR", [i, j, k])
                    C[vi] = C[vi] + T.cast(A[vj * group + vk], "int32") * T.cast(W[vj, vi, vk], "int32")

    return meaning


def _instructions(dot: Dot) -> Any:
    lanes, group, depth, a_dtype = dot.lanes, dot.group, dot.depth, dot.a_dtype
    w_shape = (lanes, group) if depth == 1 else (depth, lanes, group)
    w_region = [slice(0, extent) for extent in w_shape]

    def words(A: Any) -> list[PrimExpr]:
        return [activation_word(A, [j * group], dot) for j in range(depth)]

    def weights(W: Any) -> list[PrimExpr]:
        starts = [[0, 0]] if depth == 1 else [[j, 0, 0] for j in range(depth)]
        return [W.vload(start, f"int8x{lanes * group}") for start in starts]

    @T.prim_func(s_tir=True)
    def instructions(a: T.handle, w: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (depth * group,), a_dtype, offset_factor=1)
        W = T.match_buffer(w, w_shape, "int8", offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0 : depth * group], W[tuple(w_region)])
            T.writes(C[0:lanes])
            C[T.ramp(0, 1, lanes)] = dot.step(C.vload([0], f"int32x{lanes}"), words(A), weights(W))

    return instructions


def depth_of(limit: int, product: int) -> int:
    """Largest power of two up to 16 of products of size `product` whose sum stays at most `limit`."""
    depth = 1
    while depth < 16 and 2 * depth * product <= limit:
        depth *= 2
    return depth
