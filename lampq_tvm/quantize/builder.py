"""The integer network while it is built: operators made so far, and every value in the form that its reader needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kinds import Kind
from lampq_tvm.network.model import ImportedModel, LayerNorm, Linear, PatchEmbed, TakeToken
from lampq_tvm.network.op import FloatOp, Op
from lampq_tvm.quantize import constants
from lampq_tvm.quantize.build_rules import CODES, REALS
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators.look_up import QLookUp
from lampq_tvm.quantize.operators.to_codes import QToCodes
from lampq_tvm.quantize.product import Product, layer_input, layer_product
from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.carried import Carried
from lampq_tvm.quantizers.twin_log import TwinLogWeights

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Wanted:
    """Codes that a layer reads.

    Attributes:
        name: what they are called if an operator of their own gives them.
        reader: the layer.
        y: how its input quantizer's codes travel.
    """

    name: str
    reader: str
    y: Carried


@dataclass
class Builder:
    """Operators made so far, in execution order, and their constants."""

    calibration: Calibration
    plan: BitPlan
    ops: dict[str, QOp] = field(default_factory=dict)
    tensors: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    reals: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> ImportedModel:
        """The float network."""
        return self.calibration.model

    def add(self, op: QOp, **tensors: npt.NDArray[Any]) -> str:
        """Append an operator with its constants; its name."""
        if op.name in self.ops:
            raise UnsupportedError("its output is read in two forms", where=op.name, hint="only sums and norms can be")
        self.ops[op.name] = op
        self.tensors |= {f"{op.name}.{k}": v for k, v in tensors.items()}
        return op.name

    def f32(self, name: str) -> F32:
        """A tensor of the float model."""
        return self.model.tensors[name].astype(np.float32)

    def tokens(self, name: str) -> int:
        """Tokens of a float value, those of one window where it is cut into windows."""
        return self.model.shapes[name][-2]

    def real(self, name: str) -> str:
        """Name of the float32 value that stands for the float value `name`; made on the first call.

        Raises:
            UnsupportedError: no rule gives it.
        """
        if name not in self.reals:
            op = self.model.op(name)
            rule = REALS.get(type(op))
            if rule is None:
                raise UnsupportedError(f"no rule gives a float output of {type(op).__name__}", where=op.name)
            self.reals[name] = rule(self, op)
        return self.reals[name]

    def codes(self, reader: Linear) -> tuple[str, ...]:
        """Names of the input codes of the layer `reader`: one, or the high and the low plane of levels of 16 bits."""
        y = layer_input(self.calibration, self.plan.layer(reader.name))
        codes = self.codes_of(reader.inputs[0], reader.name, y)
        planes = zip(("high", "low"), y.planes, strict=False)
        looked_up = [self.add(QLookUp(f"{reader.name}.{name}", (codes,)), table=table) for name, table in planes]
        return tuple(looked_up) or (codes,)

    def input_kind(self, reader: Linear) -> Kind:
        """Kind of what the layer `reader` multiplies with its weights."""
        return layer_input(self.calibration, self.plan.layer(reader.name)).kind

    def codes_of(self, value: str, reader: str, y: Carried) -> str:
        """Name of the codes of a value for the layer `reader`, whose input's codes travel as y says."""
        source = self.model.op(value)
        alone = len(self.model.consumers(value)) == 1
        rule = CODES.get(type(source))
        found = None if rule is None else rule(self, source, Wanted(value if alone else f"{value}.{reader}", reader, y))
        if found is not None:
            return found
        made = QToCodes(f"{reader}.codes", (self.real(value),), y.encode)
        return self.add(made, affine=constants.to_codes(y.grid), **y.tensors)

    def product(self, op: Linear | PatchEmbed) -> Product:
        """Integer weights and output map of a layer at its planned widths."""
        return layer_product(self.calibration, self.plan.layer(op.name))

    def decoding(self, op: Linear | PatchEmbed) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Widths at which a layer's weights are decoded by zero points (`Weighted.offset`), and by levels (`tabled`): of every
        width that is known, for the times of others than the planned one.
        """
        zeros, levels = (
            tuple(sorted(bits for bits, found in self.calibration.weights[op.name].items() if isinstance(found, kind)))
            for kind in (AsymmetricWeights, TwinLogWeights)
        )
        return zeros, levels

    def linear_before(self, op: Op, index: int) -> Linear:
        """The layer that computes input `index` of `op`.

        Raises:
            UnsupportedError: none does.
        """
        source = self.model.op(op.inputs[index])
        if not isinstance(source, Linear):
            raise no_rule(op, source)
        return source

    def norm_before(self, op: TakeToken) -> LayerNorm | None:
        """The LayerNorm whose output `op` reads, if one does."""
        source = None if op.reads_image else self.model.op(op.inputs[0])
        return source if isinstance(source, LayerNorm) else None

    def all_on_codes(self, name: str) -> bool:
        """Whether everybody who reads a float value can work on its codes."""
        return all(isinstance(op, FloatOp) and op.on_codes for op in self.model.consumers(name))


def no_rule(op: Op, source: Op) -> UnsupportedError:
    """What is said of an operator that cannot work on what `source` gives."""
    what = f"{type(op).__name__} on the output of {type(source).__name__} has no integer rule"
    return UnsupportedError(what, where=op.name)
