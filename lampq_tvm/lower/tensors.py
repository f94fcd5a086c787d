"""Tensors of a Relax function: places in one arena, or memory of their own."""

from __future__ import annotations

from tvm import relax
from tvm.ir import Expr
from tvm.relax.op.builtin import alloc_tensor
from tvm.relax.op.memory import alloc_storage
from tvm.relax.op.memory import alloc_tensor as place_tensor

from lampq_tvm.lower.memory import Arena


class Tensors:
    """Makes the tensors of the function that the builder is in; places that are the same are one tensor."""

    def __init__(self, builder: relax.BlockBuilder, arena: Arena) -> None:
        self.builder, self.arena = builder, arena
        self.made: dict[tuple[int, tuple[int, ...], str], Expr] = {}
        self.storage: Expr | None = None
        if arena.size:
            self.storage = builder.emit(alloc_storage(relax.ShapeExpr([arena.size]), 0, "global", "uint8"))

    def take(self, value: str, shape: tuple[int, ...], dtype: str) -> Expr:
        """A value's tensor: in the arena where it has a place there."""
        if value not in self.arena.offsets:
            return self.builder.emit(alloc_tensor(relax.ShapeExpr(shape), dtype, 0))
        key = (self.arena.offsets[value], shape, dtype)
        if key not in self.made:
            self.made[key] = self._place(*key)
        return self.made[key]

    def seen(self, value: str, tensor: Expr, shape: tuple[int, ...]) -> Expr:
        """A value's tensor in the shape that a kernel reads it in."""
        found = tensor.ty
        if tuple(int(n) for n in found.shape) == shape:
            return tensor
        dtype = str(found.dtype)
        if value in self.arena.offsets:
            return self.take(value, shape, dtype)
        to = relax.TensorType(shape, dtype)
        return self.builder.emit(
            relax.Call(relax.ExternFunc("vm.builtin.reshape"), [tensor, relax.ShapeExpr(shape)], ty_args=[to])
        )

    def _place(self, offset: int, shape: tuple[int, ...], dtype: str) -> Expr:
        tensor = self.builder.emit(place_tensor(self.storage, offset, relax.ShapeExpr(shape), dtype))
        if not offset:
            return tensor
        # Kernels refuse an offset beside the pointer: the runtime moves the pointer.
        moved = relax.Call(
            relax.ExternFunc("vm.builtin.ensure_zero_offset"), [tensor], ty_args=[relax.TensorType(shape, dtype)]
        )
        return self.builder.emit(moved)
