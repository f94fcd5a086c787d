"""What some models do to q and k before they become codes: divide by their lengths, turn by their token's angles."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from lampq_tvm.kinds import Encode
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.attention import Attention
from lampq_tvm.network.operators.heads import Rotary, UnitHeads
from lampq_tvm.quantize.build_rules import HEADS, PAYLOAD
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.operators.heads import QRotary, QUnitHeads

F64 = npt.NDArray[np.float64]


@HEADS.register(UnitHeads)
def unit_heads(b: Builder, op: UnitHeads, attention: Attention, scales: F64) -> str:
    """The temperature is part of q's scale."""
    inverse = 1 / scales
    inverse[0] *= b.model.tensors[f"{op.name}.scale"]
    source, encode = b.real(op.inputs[0]), Encode(b.plan.attention_of(attention.name))
    unit = QUnitHeads(op.name, (source,), attention.heads, attention.head_dim, op.eps, encode)
    return b.add(unit, inv=inverse.astype(np.float32))


@HEADS.register(Rotary)
def rotary(b: Builder, op: Rotary, attention: Attention, scales: F64) -> str:
    """Angles as the model has them."""
    source, encode = b.real(op.inputs[0]), Encode(b.plan.attention_of(attention.name))
    made = QRotary(op.name, (source,), attention.heads, attention.head_dim, encode)
    fields = {k: b.model.tensors[f"{op.name}.{k}"] for k in ("cos", "sin", "partner")}
    return b.add(made, inv=(1 / scales).astype(np.float32), **fields)


@PAYLOAD.register(UnitHeads)
def unit_bytes(model: ImportedModel, op: UnitHeads, floats: Collection[str]) -> int:
    """A factor for each head of q, k and v."""
    return 12 * op.heads


@PAYLOAD.register(Rotary)
def rotary_bytes(model: ImportedModel, op: Rotary, floats: Collection[str]) -> int:
    """The same, and the angles and partners of a head's channels."""
    return 12 * op.heads + sum(4 * model.tensors[f"{op.name}.{part}"].size for part in ("cos", "sin", "partner"))
