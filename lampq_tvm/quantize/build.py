"""Applies a plan: float operators and their quantizers become the integer network.

The network is built from its output backwards. Every value is asked for in the form its reader needs, float32 or the codes
of one layer's input quantizer, so nothing is made that nobody reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.allocate.plan import BitPlan
from lampq_tvm.calibrate.calibration import ActQuantizer, Calibration
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend import model as f
from lampq_tvm.quantize import constants
from lampq_tvm.quantize import model as q
from lampq_tvm.quantize.product import Product, input_quantizer, layer_product, token_count

F32 = npt.NDArray[np.float32]


def quantize(calibration: Calibration, plan: BitPlan) -> q.QuantizedModel:
    """The integer network of a calibrated model under a plan.

    Values are named after the float value they stand for, and products come in the order of the layer table.

    Raises:
        CorruptError: the plan does not fit the model.
        UnsupportedError: operators in a pattern without a rule, or sums that could leave int32.
    """
    model = calibration.model
    plan.check_fits(model)
    builder = _Builder(calibration, plan)
    output = builder.real(model.output)
    return q.QuantizedModel(
        ops=tuple(builder.ops.values()),
        output=output,
        input=model.input,
        plan=plan,
        weights=model.weights,
        has_classifier=model.has_classifier,
        tensors=builder.tensors,
    )


@dataclass
class _Builder:
    """Operators made so far, in execution order, and their constants."""

    calibration: Calibration
    plan: BitPlan
    ops: dict[str, f.Op] = field(default_factory=dict)
    tensors: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    reals: dict[str, str] = field(default_factory=dict)

    def add(self, op: f.Op, **tensors: npt.NDArray[Any]) -> str:
        """Append an operator with its constants; its name."""
        if op.name in self.ops:
            raise UnsupportedError("its output is read in two forms", where=op.name, hint="only sums and norms can be")
        self.ops[op.name] = op
        self.tensors |= {f"{op.name}.{k}": v for k, v in tensors.items()}
        return op.name

    def f32(self, name: str) -> F32:
        """A tensor of the float model."""
        return self.calibration.model.tensors[name].astype(np.float32)

    def real(self, name: str) -> str:
        """Name of the float32 value that stands for the float value `name`; made on the first call."""
        if name not in self.reals:
            self.reals[name] = self._make_real(self.calibration.model.op(name))
        return self.reals[name]

    def _make_real(self, op: f.Op) -> str:
        match op:
            case f.PatchEmbed():
                return self._patch_embed(op)
            case f.Residual():
                return self._residual(op)
            case f.LayerNorm():
                return self._float_norm(op.name, op, self.real(op.inputs[0]))
            case f.TakeToken():
                norm = self._norm_before(op)
                if norm is not None:
                    return self._float_norm(op.name, norm, self._token(op, norm.inputs[0]))
                return self.add(q.QTakeToken(op.name, (self.real(op.inputs[0]),), op.index))
            case f.MeanTokens():
                inverse = np.array([1 / (token_count(self.calibration.model) - op.start)], np.float32)
                return self.add(q.QMeanTokens(op.name, (self.real(op.inputs[0]),), op.start), inv=inverse)
            case f.Linear():
                return self._linear(op.name, op, "float", self.product(op))
            case f.AverageHeads():
                return self.add(q.QAverageHeads(op.name, tuple(self.real(name) for name in op.inputs)))
        raise UnsupportedError(f"no rule gives a float output of {type(op).__name__}", where=op.name)

    def product(self, op: f.Linear | f.PatchEmbed) -> Product:
        """Integer weights and output map of a layer at its planned widths."""
        return layer_product(self.calibration, self.plan.layer(op.name))

    def _patch_embed(self, op: f.PatchEmbed) -> str:
        p, bits = self.product(op), self.plan.layer(op.name).w_bits
        return self.add(
            q.QPatchEmbed(op.name, ("image",), op.patch, bits),
            w=p.codes,
            S=p.S.astype(np.float32),
            B=p.B.astype(np.float32),
            pos=self.f32(f"{op.name}.pos"),
            prefix=self.f32(f"{op.name}.prefix"),
        )

    def _residual(self, op: f.Residual) -> str:
        stream, branch = self.real(op.inputs[0]), self._linear_before(op, 1)
        scaled = self.product(branch).times(self.calibration.model.tensors[f"{op.name}.scale"].astype(np.float64))
        return self._linear(op.name, branch, "residual", scaled, stream)

    def _float_norm(self, name: str, norm: f.LayerNorm, source: str) -> str:
        gamma, beta = self.f32(f"{norm.name}.gamma"), self.f32(f"{norm.name}.beta")
        return self.add(q.QFloatNorm(name, (source,), norm.eps), G=gamma, B=beta)

    def _linear(self, name: str, op: f.Linear, epilogue: str, p: Product, *more: str) -> str:
        """A product whose output is float32."""
        row = self.plan.layer(op.name)
        made = q.QProduct(name, (self.codes(op), *more), epilogue, row.w_bits, row.a_bits, 8)
        return self.add(made, w=p.codes, S=p.S.astype(np.float32), B=p.B.astype(np.float32))

    def codes(self, reader: f.Linear) -> str:
        """Name of the input codes of the layer `reader`."""
        model = self.calibration.model
        source, y = model.op(reader.inputs[0]), input_quantizer(self.calibration, self.plan.layer(reader.name))
        alone = len(model.consumers(source.name)) == 1
        name = source.name if alone else f"{source.name}.{reader.name}"
        match source:
            case f.LayerNorm() if all(isinstance(op, f.Linear | f.TakeToken) for op in model.consumers(source.name)):
                return self._norm_codes(name, source, self.real(source.inputs[0]), y)
            case f.TakeToken() if (norm := self._norm_before(source)) is not None:
                return self._norm_codes(name, norm, self._token(source, norm.inputs[0]), y)
            case f.Attention():
                return self._attention(name, source, y)
            case f.Activation():
                return self._activation(name, source, y)
        made = q.QToCodes(f"{reader.name}.codes", (self.real(source.name),), y.bits)
        return self.add(made, affine=constants.to_codes(y))

    def _norm_codes(self, name: str, norm: f.LayerNorm, source: str, y: ActQuantizer) -> str:
        gamma, beta = (self.calibration.model.tensors[f"{norm.name}.{k}"].astype(np.float64) for k in ("gamma", "beta"))
        G, B = constants.requantizer(gamma, beta, y)
        return self.add(q.QLayerNorm(name, (source,), norm.eps, y.bits), G=G, B=B)

    def _token(self, op: f.TakeToken, source: str) -> str:
        """The token taken before its norm, which works on each token alone."""
        return self.add(q.QTakeToken(f"{op.name}.stream", (self.real(source),), op.index))

    def _attention(self, name: str, op: f.Attention, y: ActQuantizer) -> str:
        qkv, bits = self._linear_before(op, 0), self.plan.attention_bits
        largest = 1 << (bits - 1)
        constants.check_range(op.head_dim, largest, largest, op.name)
        constants.check_range(token_count(self.calibration.model), constants.STEPS, largest, op.name)
        scales = self.calibration.attention[op.name][bits]
        p, row = self.product(qkv), self.plan.layer(qkv.name)
        made = q.QProduct(qkv.name, (self.codes(qkv),), "codes", row.w_bits, row.a_bits, bits)
        per_output = np.repeat(scales.reshape(-1), op.head_dim)
        M, B = (p.S / per_output).astype(np.float32), (p.B / per_output).astype(np.float32)
        codes = self.add(made, w=p.codes, M=M, B=B)
        return self.add(
            q.QAttention(name, (codes,), op.heads, op.head_dim, bits, y.bits),
            S=constants.score_scale(scales[0], scales[1], op.scale),
            P=constants.softmax_table(self.plan.softmax, bits),
            M=np.repeat(scales[2] / y.scale, op.head_dim).astype(np.float32),
            B=np.full(op.heads * op.head_dim, y.zero, np.float32),
        )

    def _activation(self, name: str, op: f.Activation, y: ActQuantizer) -> str:
        linear, x = self._linear_before(op, 0), self.calibration.preactivations[op.name]
        p, row = self.product(linear), self.plan.layer(linear.name)
        M, B = constants.requantizer(p.S, p.B, x)
        made = q.QProduct(name, (self.codes(linear),), "table", row.w_bits, row.a_bits, x.bits)
        return self.add(made, w=p.codes, M=M, B=B, table=constants.activation_table(op.kind, x, y))

    def _linear_before(self, op: f.Op, index: int) -> f.Linear:
        """The layer that computes input `index` of `op`."""
        source = self.calibration.model.op(op.inputs[index])
        if not isinstance(source, f.Linear):
            what = f"{type(op).__name__} on the output of {type(source).__name__} has no integer rule"
            raise UnsupportedError(what, where=op.name)
        return source

    def _norm_before(self, op: f.TakeToken) -> f.LayerNorm | None:
        """The LayerNorm whose output `op` reads, where there is one and nothing else needs it as float."""
        name = op.inputs[0]
        source = None if name == "image" else self.calibration.model.op(name)
        return source if isinstance(source, f.LayerNorm) else None
