"""What stays float: parts of the source model, and the image that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lampq_tvm.network.op import Shape, Shaped
from lampq_tvm.network.operators.float_part import Node, Sizes, fields_of, one_image
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS

if TYPE_CHECKING:
    from typing_extensions import Self


@OPERATORS.register("QFloatPart")
@dataclass(frozen=True)
class QFloatPart(QOp):
    """Operators of the source model in float32: close to the reference, not equal. Tensors: `.c0`, `.c1`, ... of any dtype."""

    of = ("FloatPart",)
    nodes: tuple[Node, ...]
    ins: tuple[Sizes, ...]
    out: Sizes

    @classmethod
    def of_fields(cls, row: Mapping[str, Any]) -> Self:
        """From JSON values by field."""
        return cls(row["name"], tuple(row["inputs"]), *fields_of(row))

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """As the source model gave it."""
        return one_image(self.out)


@OPERATORS.register("QNormalized")
@dataclass(frozen=True)
class QNormalized(QOp):
    """The image as float parts read it: fma(fl(pixel), scale[c], shift[c]). Tensors: `.scale`, `.shift` [C] f32.

    They are 1 / (255 std) and -mean / std.
    """

    def shape(self, x: Sequence[Shape], tensors: Mapping[str, Shaped]) -> Shape:
        """That of the image."""
        return x[0]
