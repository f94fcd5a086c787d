"""What every operator's lowering for a GPU knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.lower.cuda.launch import Value
from lampq_tvm.network.model import InputSpec, Op
from lampq_tvm.plan import FLOAT_BITS
from lampq_tvm.quantize.model import QLayerNorm, QProduct, QRegroup, QRotary
from lampq_tvm.records.cuda import CudaRecords


@dataclass
class CudaContext:
    """What every operator's lowering for a GPU knows.

    Attributes:
        arch: `sm_87`, ...
        batch: images per call.
        input: the image.
        output: name of the value that the network gives.
        ops: the network's operators.
        tensors: its constants.
        records: sizes of the kernels.
        shapes: shape of every value so far, without the batch.
        values: values so far, by name.
        fused: LayerNorms that the product after them makes itself, by name.
        made: operators whose value a launch of an earlier one gives, or that are left out with it, by name.
    """

    arch: str
    batch: int
    input: InputSpec
    output: str
    ops: Sequence[Op]
    tensors: Mapping[str, np.ndarray]
    records: CudaRecords
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    fused: dict[str, QLayerNorm] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def rows(self, value: str) -> int:
        """Rows of a value as a matrix, the batch included."""
        return self.batch * int(np.prod(self.shapes[value][:-1]))

    def mma(self, op: QProduct) -> Mma:
        """The multiply-add of a product."""
        return mma_for(op.w_bits, op.a_bits, self.arch)

    def readers(self, name: str) -> list[Op]:
        """Operators that read a value, where it stands or through an index."""
        found = [op for op in self.ops if name in op.inputs]
        return [reader for op in found for reader in (self.readers(op.name) if self.gathers(op) else [op])]

    def only_reader(self, name: str) -> Op | None:
        """The operator that alone wants a value, which nobody else needs then; the network's output is wanted outside."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name != self.output else None

    def gathers(self, op: Op) -> bool:
        """Whether tokens in another order need no kernel: their only reader is a product, and none is filled or joined."""
        if not isinstance(op, QRegroup) or op.name == self.output:
            return False
        index, readers = self.tensors[f"{op.name}.index"], [reader for reader in self.ops if op.name in reader.inputs]
        alone = len(readers) == 1 and isinstance(readers[0], QProduct) and readers[0].inputs[0] == op.name
        return alone and index.shape[-1] == 1 and index.min() >= 0

    def gathered(self, name: str) -> QRegroup | None:
        """What gives a value, if it is tokens in another order, which the product after them reads where they stand."""
        return next((op for op in self.ops if op.name == name and isinstance(op, QRegroup) and self.gathers(op)), None)

    def product_shape(self, op: QProduct) -> ProductShape:
        """What a product is built for, its rows taken by an index or not, and whether it turns q and k."""
        (n, k), source = self.tensors[f"{op.name}.w"].shape, op.inputs[0]
        rows = self.batch * self.tensors[f"{source}.index"].size if self.gathered(source) else self.rows(source)
        return ProductShape(rows, n, k, op.epilogue if self.turned(op) is None else "turned")

    def turned(self, op: QProduct) -> QRotary | None:
        """The rotation of neighbours that alone reads a product, which makes its codes then."""
        rotary = self.only_reader(op.name)
        if op.epilogue != "float" or not isinstance(rotary, QRotary):
            return None
        return rotary if np.array_equal(self.tensors[f"{rotary.name}.partner"], np.arange(rotary.head_dim) ^ 1) else None

    def tiles(self, shape: ProductShape, mma: Mma, normed: bool) -> CudaTiles:
        """Tiles of a product, by its record; products that turn take those of products to codes."""
        twin = replace(shape, epilogue="codes") if shape.epilogue == "turned" else shape
        return self.records.product(twin, mma, normed)

    def code_bits(self, name: str) -> int:
        """Bits that a value's codes take in memory: 4 where every reader multiplies nibbles, else 8."""
        readers = self.readers(name)
        nibbles = readers and all(isinstance(op, QProduct) and self.mma(op).a_bits == 4 for op in readers)
        return 4 if nibbles else 8

    def add(self, name: str, shape: tuple[int, ...], dtype: str) -> Value:
        """Note a new value: its shape without the batch, and where it stands as a matrix."""
        self.shapes[name] = shape
        self.values[name] = Value(name, self.rows(name), shape[-1], dtype)
        return self.values[name]

    def coded(self, name: str, shape: tuple[int, ...], bits: int) -> Value:
        """Note a new value of codes of a width, or of float16 values."""
        return self.add(name, shape, "float16" if bits == FLOAT_BITS else f"int{self.code_bits(name)}")
