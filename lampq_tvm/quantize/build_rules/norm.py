"""LayerNorm: to codes where layers alone read it, to float elsewhere, and added to the stream behind its branch (post-norm)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.op import Op
from lampq_tvm.network.operators.layer_norm import LayerNorm
from lampq_tvm.quantize import constants
from lampq_tvm.quantize.build_rules import CODES, PAYLOAD, REALS, SUMS
from lampq_tvm.quantize.builder import Builder, Wanted
from lampq_tvm.quantize.operators.add import QAdd
from lampq_tvm.quantize.operators.norm import QFloatNorm, QLayerNorm
from lampq_tvm.quantizers.carried import Carried

F64 = npt.NDArray[np.float64]


@REALS.register(LayerNorm)
def norm_value(b: Builder, op: LayerNorm) -> str:
    """To float."""
    return norm_float(b, op.name, op, b.real(op.inputs[0]))


@CODES.register(LayerNorm)
def norm_codes_wanted(b: Builder, op: LayerNorm, wanted: Wanted) -> str | None:
    """To codes, unless somebody reads the float value."""
    return norm_codes(b, wanted.name, op, b.real(op.inputs[0]), wanted.y) if b.all_on_codes(op.name) else None


@SUMS.register(LayerNorm)
def add_norm(b: Builder, op: LayerNorm, total: Op, stream: str, factor: F64) -> str:
    """Post-norm: the branch's LayerNorm times `factor` [C], added to the stream."""
    return b.add(QAdd(total.name, (stream, norm_float(b, op.name, op, b.real(op.inputs[0]), factor))))


def norm_float(b: Builder, name: str, norm: LayerNorm, source: str, factor: F64 | float = 1.0) -> str:
    """LayerNorm of the float32 value `source`, times `factor`, called `name`."""
    gamma, beta = (b.model.tensors[f"{norm.name}.{k}"] * factor for k in ("gamma", "beta"))
    return b.add(QFloatNorm(name, (source,), norm.eps, norm.centred), G=gamma.astype(np.float32), B=beta.astype(np.float32))


def norm_codes(b: Builder, name: str, norm: LayerNorm, source: str, y: Carried) -> str:
    """LayerNorm of the float32 value `source` to codes of y, called `name`."""
    gamma, beta = (b.model.tensors[f"{norm.name}.{k}"].astype(np.float64) for k in ("gamma", "beta"))
    G, B = constants.requantizer(gamma, beta, y.grid)
    return b.add(QLayerNorm(name, (source,), norm.eps, y.encode, norm.centred), G=G, B=B, **y.tensors)


@PAYLOAD.register(LayerNorm)
def norm_bytes(model: ImportedModel, op: LayerNorm, floats: Collection[str]) -> int:
    """G and B of each channel."""
    return 8 * model.tensors[f"{op.name}.gamma"].size
