"""Applies a plan: float operators and their quantizers become the integer network.

The network is built from its output backwards. Every value is asked for in the form its reader needs, float32 or the codes
of one layer's input quantizer, so nothing is made that nobody reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network import model as f
from lampq_tvm.plan import FLOAT_BITS, BitPlan
from lampq_tvm.quantize import constants, scores
from lampq_tvm.quantize import model as q
from lampq_tvm.quantize.product import Product, input_quantizer, layer_product, token_count
from lampq_tvm.quantizers.uniform import ActQuantizer

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
            case f.Regroup():
                return self._regroup(op.name, op, self.real(op.inputs[0]), np.zeros(1, np.float32))
            case f.Gate():
                return self._gate(op)
            case f.TakeToken():
                norm = self._norm_before(op)
                if norm is not None:
                    return self._float_norm(op.name, norm, self._token(op, norm.inputs[0]))
                return self.add(q.QTakeToken(op.name, (self.real(op.inputs[0]),), op.index))
            case f.MeanTokens():
                inverse = np.array([1 / (token_count(self.calibration.model, op.inputs[0]) - op.start)], np.float32)
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
        stream, branch = self.real(op.inputs[0]), self.calibration.model.op(op.inputs[1])
        scale = self.calibration.model.tensors[f"{op.name}.scale"].astype(np.float64)
        if isinstance(branch, f.LayerNorm):  # post-norm
            normed = self._float_norm(branch.name, branch, self.real(branch.inputs[0]), scale)
            return self.add(q.QAdd(op.name, (stream, normed)))
        linear = self._linear_before(op, 1)
        return self._linear(op.name, linear, "residual", self.product(linear).times(scale), stream)

    def _float_norm(self, name: str, norm: f.LayerNorm, source: str, scale: npt.NDArray[np.float64] | float = 1.0) -> str:
        gamma, beta = (self.calibration.model.tensors[f"{norm.name}.{k}"] * scale for k in ("gamma", "beta"))
        made = q.QFloatNorm(name, (source,), norm.eps)
        return self.add(made, G=gamma.astype(np.float32), B=beta.astype(np.float32))

    def _regroup(self, name: str, op: f.Regroup, source: str, fill: npt.NDArray[Any]) -> str:
        index = self.calibration.model.tensors[f"{op.name}.index"]
        index = index.astype(np.min_scalar_type(-1 - int(index.max())))  # the narrowest that has -1
        return self.add(q.QRegroup(name, (source,), op.rows), index=index, fill=fill)

    def _linear(self, name: str, op: f.Linear, epilogue: str, p: Product, *more: str) -> str:
        """A product whose output is float32."""
        row = self.plan.layer(op.name)
        made = q.QProduct(name, (self.codes(op), *more), epilogue, row.w_bits, row.a_bits, 8)
        return self.add(made, w=p.codes, S=p.S.astype(np.float32), B=p.B.astype(np.float32))

    def codes(self, reader: f.Linear) -> str:
        """Name of the input codes of the layer `reader`."""
        y = input_quantizer(self.calibration, self.plan.layer(reader.name))
        return self.codes_of(reader.inputs[0], reader.name, y)

    def codes_of(self, value: str, reader: str, y: ActQuantizer) -> str:
        """Name of the codes of a value for the layer `reader`, whose input quantizer is y."""
        model = self.calibration.model
        source = model.op(value)
        alone = len(model.consumers(source.name)) == 1
        name = source.name if alone else f"{source.name}.{reader}"
        passes = f.Linear | f.TakeToken | f.Regroup
        match source:
            case f.LayerNorm() if all(isinstance(op, passes) for op in model.consumers(source.name)):
                return self._norm_codes(name, source, self.real(source.inputs[0]), y)
            case f.TakeToken() if (norm := self._norm_before(source)) is not None:
                return self._norm_codes(name, norm, self._token(source, norm.inputs[0]), y)
            case f.Attention():
                return self._attention(name, source, y)
            case f.AttentionPool():
                return self._attention_pool(name, source, y)
            case f.Activation():
                return self._activation(name, source, y)
            case f.Regroup():
                codes = self.codes_of(source.inputs[0], reader, y)
                return self._regroup(name, source, codes, np.array([y.zero], code_type(y.bits)))
        made = q.QToCodes(f"{reader}.codes", (self.real(source.name),), y.bits)
        return self.add(made, affine=constants.to_codes(y))

    def _norm_codes(self, name: str, norm: f.LayerNorm, source: str, y: ActQuantizer) -> str:
        gamma, beta = (self.calibration.model.tensors[f"{norm.name}.{k}"].astype(np.float64) for k in ("gamma", "beta"))
        G, B = constants.requantizer(gamma, beta, y)
        return self.add(q.QLayerNorm(name, (source,), norm.eps, y.bits), G=G, B=B)

    def _token(self, op: f.TakeToken, source: str) -> str:
        """The token taken before its norm, which works on each token alone."""
        return self.add(q.QTakeToken(f"{op.name}.stream", (self.real(source),), op.index))

    def _attention(self, name: str, op: f.Attention, y: ActQuantizer) -> str:
        bits = self.plan.attention_bits
        scales = self._head_scales(op, token_count(self.calibration.model, op.name))
        bias: dict[str, npt.NDArray[Any]] = {}
        if op.groups:
            real = self.calibration.model.tensors[f"{op.name}.bias"]
            if bits == FLOAT_BITS:
                added: npt.NDArray[Any] = scores.exponent_bias(real)
            else:
                scales = scores.raised_scales(scales, op.scale)
                added = scores.score_bias(real, scales[0] * scales[1] * op.scale)
            bias = dict(zip(("bias", "at", "pattern"), scores.distinct(added), strict=True))
        made = q.QAttention(name, (self._heads(op, scales),), op.heads, op.head_dim, bits, y.bits, op.groups)
        return self.add(made, **self._softmax(op, scales, y), **bias)

    def _head_scales(self, op: f.Attention | f.AttentionPool, tokens: int) -> npt.NDArray[np.float64]:
        """Scales [3, heads] of q, k and v; ones where they stay float16."""
        bits = self.plan.attention_bits
        if bits == FLOAT_BITS:
            return np.ones((3, op.heads))
        largest = 1 << (bits - 1)
        constants.check_range(op.head_dim, largest, largest, op.name)
        constants.check_range(tokens, constants.STEPS, largest, op.name)
        return self.calibration.attention[op.name][bits].astype(np.float64)

    def _softmax(
        self, op: f.Attention | f.AttentionPool, scales: npt.NDArray[np.float64], y: ActQuantizer
    ) -> dict[str, npt.NDArray[Any]]:
        """Constants of the softmax and of what follows the values."""
        found: dict[str, npt.NDArray[Any]] = {}
        if self.plan.attention_bits == FLOAT_BITS:
            found["S"] = constants.exponent_scale(op.heads, op.scale)
        else:
            found["S"] = constants.score_scale(scales[0], scales[1], op.scale)
            found["P"] = constants.softmax_table(self.plan.softmax_of(op.name), self.plan.attention_bits)
        found["M"] = np.repeat(scales[2] / y.scale, op.head_dim).astype(np.float32)
        found["B"] = np.full(op.heads * op.head_dim, y.zero, np.float32)
        return found

    def _attention_pool(self, name: str, op: f.AttentionPool, y: ActQuantizer) -> str:
        bits, model, kv = self.plan.attention_bits, self.calibration.model, self._linear_before(op, 0)
        scales = self._head_scales(op, token_count(model, kv.name))
        query: npt.NDArray[Any] = model.tensors[f"{op.name}.query"].astype(np.float64) / scales[0][:, None, None]
        if bits < FLOAT_BITS:
            query = np.clip(np.rint(query), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        made = q.QAttentionPool(name, (self._product_codes(kv, scales[1:], bits),), op.heads, op.head_dim, bits, y.bits)
        return self.add(made, query=query.astype(code_type(bits)), **self._softmax(op, scales, y))

    def _heads(self, op: f.Attention, scales: npt.NDArray[np.float64]) -> str:
        """Codes of q, k and v at their scales [3, heads]."""
        model, bits = self.calibration.model, self.plan.attention_bits
        source = model.op(op.inputs[0])
        if isinstance(source, f.UnitHeads):
            inverse = 1 / scales
            inverse[0] *= model.tensors[f"{source.name}.scale"]
            unit = q.QUnitHeads(source.name, (self.real(source.inputs[0]),), op.heads, op.head_dim, source.eps, bits)
            return self.add(unit, inv=inverse.astype(np.float32))
        if isinstance(source, f.Rotary):
            rotary = q.QRotary(source.name, (self.real(source.inputs[0]),), op.heads, op.head_dim, bits)
            fields = {k: model.tensors[f"{source.name}.{k}"] for k in ("cos", "sin", "partner")}
            return self.add(rotary, inv=(1 / scales).astype(np.float32), **fields)
        return self._product_codes(self._linear_before(op, 0), scales, bits)

    def _product_codes(self, linear: f.Linear, scales: npt.NDArray[np.float64], bits: int) -> str:
        """Symmetric codes of a layer's output with one scale [parts, heads] for each head of each part."""
        p, row = self.product(linear), self.plan.layer(linear.name)
        made = q.QProduct(linear.name, (self.codes(linear),), "codes", row.w_bits, row.a_bits, bits)
        per_output = np.repeat(scales.reshape(-1), len(p.S) // scales.size)
        M, B = (p.S / per_output).astype(np.float32), (p.B / per_output).astype(np.float32)
        return self.add(made, w=p.codes, M=M, B=B)

    def _gate(self, op: f.Gate) -> str:
        """The gate's layer gives 8-bit codes before rounding, so that one product serves gate and value of one layer."""
        x, columns = self.calibration.preactivations[op.name], slice(op.gate_at, op.gate_at + op.width)
        layers = [self._linear_before(op, i) for i in (0, 1)]
        p = self.product(layers[0])
        S, B = p.S.copy(), p.B.copy()
        S[columns], B[columns] = p.S[columns] / x.scale, p.B[columns] / x.scale + x.zero
        gate = self._linear(layers[0].name, layers[0], "float", Product(p.codes, S, B))
        value = gate if layers[1].name == layers[0].name else self.real(layers[1].name)
        made = q.QGate(op.name, (gate, value), op.gate_at, op.value_at, op.width)
        return self.add(made, table=constants.gate_table(op.kind, x))

    def _activation(self, name: str, op: f.Activation, y: ActQuantizer) -> str:
        linear, x = self._linear_before(op, 0), self.calibration.preactivations[op.name]
        p, row = self.product(linear), self.plan.layer(linear.name)
        if row.is_float:
            made = q.QProduct(name, (self.codes(linear),), "act", row.w_bits, row.a_bits, y.bits, op.kind)
            S, B, affine = p.S.astype(np.float32), p.B.astype(np.float32), constants.to_codes(y)
            return self.add(made, w=p.codes, S=S, B=B, affine=affine)
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


def code_type(bits: int) -> type[np.int8] | type[np.float16]:
    """Type of codes of a width."""
    return np.float16 if bits == FLOAT_BITS else np.int8
