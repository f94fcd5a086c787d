"""What every pass and every operator's lowering for a GPU knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.groups import Group
from lampq_tvm.lower.cuda.launch import Value
from lampq_tvm.network.model import InputSpec
from lampq_tvm.network.op import Shape
from lampq_tvm.network.shapes import infer_shapes
from lampq_tvm.quantize.model import QProduct, QRegroup, QRotary, QuantizedModel
from lampq_tvm.quantize.op import QOp
from lampq_tvm.records.cuda import CudaRecords


@dataclass
class CudaContext:
    """What every pass and every operator's lowering for a GPU knows.

    Attributes:
        arch: `sm_87`, ...
        batch: images per call.
        input: the image.
        outputs: names of the values that the network gives.
        ops: the network's operators.
        tensors: its constants.
        records: sizes of the kernels.
        shapes: of every value without the batch.
        groups: operators by the kernel that makes them, in order; passes join them.
        values: values in device memory so far, by name.
    """

    arch: str
    batch: int
    input: InputSpec
    outputs: tuple[str, ...]
    ops: tuple[QOp, ...]
    tensors: Mapping[str, np.ndarray]
    records: CudaRecords
    shapes: dict[str, Shape]
    groups: tuple[Group, ...]
    values: dict[str, Value] = field(default_factory=dict)

    @staticmethod
    def of(qm: QuantizedModel, arch: str, batch: int, records: CudaRecords) -> CudaContext:
        """For a network of which nothing is joined yet."""
        shapes = infer_shapes(qm.ops, qm.input, qm.tensors)
        groups = tuple(Group(op) for op in qm.ops)
        return CudaContext(arch, batch, qm.input, qm.outputs, qm.ops, qm.tensors, records, shapes, groups)

    def rows(self, value: str) -> int:
        """Rows of a value as a matrix, the batch included."""
        return self.batch * int(np.prod(self.shapes[value][:-1]))

    def mma(self, op: QProduct) -> Mma:
        """The multiply-add of a product."""
        return mma_for(op.multiplied, op.a, self.arch)

    def group(self, name: str) -> Group:
        """The group that makes the operator `name`."""
        return next(group for group in self.groups if any(op.name == name for op in group.ops))

    def alone(self, name: str) -> bool:
        """Whether an operator is the root of its group, and nothing is joined to it."""
        group = self.group(name)
        return group.root.name == name and len(group.ops) == 1

    def readers(self, name: str) -> list[QOp]:
        """Operators that read a value, where it stands or through an index."""
        found = [op for op in self.ops if name in op.inputs]
        return [reader for op in found for reader in (self.readers(op.name) if self.gathers(op) else [op])]

    def only_reader(self, name: str) -> QOp | None:
        """The operator that alone wants a value, which nobody else needs then; the network's output is wanted outside."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def gathers(self, op: QOp) -> bool:
        """Whether an operator is tokens in another order that the product after them reads where they stand."""
        return isinstance(op, QRegroup) and op in self.group(op.name).before

    def product_shape(self, op: QProduct) -> ProductShape:
        """What a product is built for, and whether it turns q and k."""
        (n, k), turned = self.tensors[f"{op.name}.w"].shape, self.group(op.name).behind(QRotary)
        return ProductShape(self.rows(op.inputs[0]), n, k, op.finish if turned is None else "turned")

    def tiles(self, shape: ProductShape, mma: Mma, normed: bool) -> CudaTiles:
        """Tiles of a product, by its record; products that turn take those of products to codes."""
        twin = replace(shape, epilogue="codes") if shape.epilogue == "turned" else shape
        return self.records.product(twin, mma, normed)

    def code_bits(self, name: str) -> int:
        """Bits that a value's codes take in memory: 4 where every reader multiplies nibbles, else 8."""
        readers = self.readers(name)
        nibbles = readers and all(isinstance(op, QProduct) and self.mma(op).a_bits == 4 for op in readers)
        return 4 if nibbles else 8

    def add(self, name: str, dtype: str, shape: Shape | None = None) -> Value:
        """Note a value in device memory as a matrix; `shape` without the batch, of a value that no operator gives."""
        if shape is not None:
            self.shapes[name] = shape
        self.values[name] = Value(name, self.rows(name), self.shapes[name][-1], dtype)
        return self.values[name]

    def coded(self, name: str, kind: Kind) -> Value:
        """Note a value of codes, or of float16 values."""
        return self.add(name, kind.dtype if kind.is_float else f"int{self.code_bits(name)}")
