"""Runs a whole integer network through the oracle, operator by operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network.model import Op
from lampq_tvm.oracle import ops
from lampq_tvm.quantize import model as q

Array = npt.NDArray[Any]


def run_oracle(qm: q.QuantizedModel, pixels: npt.NDArray[np.uint8]) -> dict[str, Array]:
    """Every value of the network for `pixels` [B, C, H, W] uint8: int8 codes, float16 and float32 arrays by operator name."""
    values: dict[str, Array] = {"image": ops.pixel_codes(pixels)}
    for op in qm.ops:
        mine = {k[len(op.name) + 1 :]: v for k, v in qm.tensors.items() if k.rpartition(".")[0] == op.name}
        values[op.name] = run_op(op, mine, [values[name] for name in op.inputs])
    return values


def run_op(op: Op, t: dict[str, Array], x: list[Array]) -> Array:
    """Output of one operator from its constants `t` and its inputs `x`."""
    match op:
        case q.QPatchEmbed():
            return ops.patch_embed(x[0], t["w"], t["S"], t["B"], t["pos"], t["prefix"], op.patch)
        case q.QLayerNorm():
            return ops.layer_norm_codes(x[0], t["G"], t["B"], op.eps, op.out_bits)
        case q.QFloatNorm():
            return ops.layer_norm_float(x[0], t["G"], t["B"], op.eps)
        case q.QProduct():
            return run_product(op, t, x)
        case q.QAttention():
            bias = t["bias"][:, t["at"][t["pattern"]]].swapaxes(0, 1) if op.groups else None
            windows = x[0].reshape(-1, *x[0].shape[-2:])
            if op.bits == ops.HALF_BITS:
                mixed = ops.half_attention(windows, t["S"], t["M"], t["B"], op.heads, op.head_dim, op.out_bits, bias)
                return mixed.reshape(*x[0].shape[:-1], -1)
            codes = ops.attention(windows, t["S"], t["P"], t["M"], t["B"], op.heads, op.head_dim, op.out_bits, bias)
            return codes.reshape(*x[0].shape[:-1], -1)
        case q.QAttentionPool():
            return ops.attention_pool(x[0], t["query"], t["S"], t.get("P"), t["M"], t["B"], op.out_bits)
        case q.QUnitHeads():
            return ops.unit_heads(x[0], t["inv"], op.heads, op.eps, op.out_bits)
        case q.QRotary():
            return ops.rotary(x[0], t["cos"], t["sin"], t["partner"], t["inv"], op.out_bits)
        case q.QGate():
            g, value = x[0][..., op.gate_at : op.gate_at + op.width], x[1][..., op.value_at : op.value_at + op.width]
            return ops.gate(g, value, t["table"])
        case q.QRegroup():
            return ops.regroup(x[0], t["index"], t["fill"], op.rows)
        case q.QAdd():
            return ops.add(x[0], x[1])
        case q.QToCodes():
            return ops.to_codes(x[0], t["affine"], op.out_bits)
        case q.QTakeToken():
            return ops.take_token(x[0], op.index)
        case q.QMeanTokens():
            return ops.mean_tokens(x[0], op.start, t["inv"])
        case q.QAverageHeads():
            return ops.average_heads(x[0], x[1])
    raise UnsupportedError("the arithmetic table has no rule for this operator", where=f"{op.name} ({type(op).__name__})")


def run_product(op: q.QProduct, t: dict[str, Array], x: list[Array]) -> Array:
    """A product and its epilogue."""
    if op.epilogue == "act":
        return ops.activated(ops.half_sums(x[0], t["w"]), t["S"], t["B"], op.act, t["affine"], op.out_bits)
    acc = ops.half_sums(x[0], t["w"]) if op.w_bits == ops.HALF_BITS else ops.product_acc(x[0], t["w"])
    if op.epilogue == "residual":
        return ops.residual(x[1], acc, t["S"], t["B"])
    if op.epilogue == "float":
        return ops.float_out(acc, t["S"], t["B"])
    codes = ops.requantize(acc, t["M"], t["B"], op.out_bits)
    return ops.apply_table(codes, t["table"]) if op.epilogue == "table" else codes
