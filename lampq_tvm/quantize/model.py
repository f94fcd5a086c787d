"""What quantize returns: the integer network, operator by operator, with every constant that the board will use.

Oracle, torch reference and kernels read these constants; none recomputes them. The rules of each operator are the
arithmetic table of the documentation (`docs/arithmetic.md`). Codes of the kind float16 are values, made by clamping to
+-65504 and rounding; layers of that kind sum their products in float32.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.network.model import InputSpec, op_from_json, op_to_json
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators import OPERATORS
from lampq_tvm.quantize.operators.add import QAdd as QAdd
from lampq_tvm.quantize.operators.attention import QAttention as QAttention
from lampq_tvm.quantize.operators.attention import QAttentionPool as QAttentionPool
from lampq_tvm.quantize.operators.average_heads import QAverageHeads as QAverageHeads
from lampq_tvm.quantize.operators.gate import QGate as QGate
from lampq_tvm.quantize.operators.heads import QRotary as QRotary
from lampq_tvm.quantize.operators.heads import QUnitHeads as QUnitHeads
from lampq_tvm.quantize.operators.look_up import QLookUp as QLookUp
from lampq_tvm.quantize.operators.norm import QFloatNorm as QFloatNorm
from lampq_tvm.quantize.operators.norm import QLayerNorm as QLayerNorm
from lampq_tvm.quantize.operators.patch_embed import QPatchEmbed as QPatchEmbed
from lampq_tvm.quantize.operators.product import QProduct as QProduct
from lampq_tvm.quantize.operators.regroup import QRegroup as QRegroup
from lampq_tvm.quantize.operators.to_codes import QToCodes as QToCodes
from lampq_tvm.quantize.operators.tokens import QMeanTokens as QMeanTokens
from lampq_tvm.quantize.operators.tokens import QTakeToken as QTakeToken
from lampq_tvm.quantizers.protocol import Described
from lampq_tvm.store import load_stage, save_stage


@dataclass(frozen=True)
class QuantizedModel:
    """The integer network.

    Attributes:
        ops: in execution order; each value carries its operator's name, the image is `image`.
        outputs: names of the float32 values that the network gives.
        input: the image it takes.
        plan: the plan it was made from.
        weights: `trained` or `random`.
        has_classifier: whether the output are class logits.
        tensors: constants by `{op.name}.{field}`.
        quantizers: by layer and attention, name and parameters of each quantizer (`quantize.described`).
    """

    ops: tuple[QOp, ...]
    outputs: tuple[str, ...]
    input: InputSpec
    plan: BitPlan
    weights: str
    has_classifier: bool
    tensors: dict[str, np.ndarray]
    quantizers: dict[str, dict[str, Described]] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """Name of the one value that the network gives."""
        (name,) = self.outputs
        return name

    def save(self, path: Path) -> None:
        """Write to one file."""
        meta = {
            "ops": [op_to_json(op) for op in self.ops],
            "outputs": self.outputs,
            "input": dataclasses.asdict(self.input),
            "plan": self.plan.model_dump(),
            "weights": self.weights,
            "has_classifier": self.has_classifier,
            "quantizers": self.quantizers,
        }
        save_stage(path, "quantized", meta, self.tensors)

    @staticmethod
    def load(path: Path) -> QuantizedModel:
        """Read what `save` wrote."""
        meta, tensors = load_stage(path, "quantized")
        return QuantizedModel(
            ops=tuple(op_from_json(row, OPERATORS) for row in meta["ops"]),
            outputs=tuple(meta["outputs"]),
            input=InputSpec(**{**meta["input"], "mean": tuple(meta["input"]["mean"]), "std": tuple(meta["input"]["std"])}),
            plan=BitPlan.model_validate(meta["plan"]),
            weights=meta["weights"],
            has_classifier=meta["has_classifier"],
            tensors=tensors,
            quantizers=meta["quantizers"],
        )
