"""What the frontend returns: the recognized Vision Transformer as a short list of float operators.

An `ImportedModel` holds everything later stages need of the network: operators in the order of execution, each naming
the values it reads, and the tensors they use. The original torch module is not needed after import.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.network.op import FloatOp, Shape, Shaped
from lampq_tvm.network.op import HeadOp as HeadOp
from lampq_tvm.network.op import Op as Op
from lampq_tvm.network.op import op_from_json as op_from_json
from lampq_tvm.network.op import op_to_json as op_to_json
from lampq_tvm.network.operators import OPERATORS
from lampq_tvm.network.operators.activation import ACTIVATIONS as ACTIVATIONS
from lampq_tvm.network.operators.activation import Activation as Activation
from lampq_tvm.network.operators.activation import Function as Function
from lampq_tvm.network.operators.activation import Gate as Gate
from lampq_tvm.network.operators.attention import Attends as Attends
from lampq_tvm.network.operators.attention import Attention as Attention
from lampq_tvm.network.operators.attention import AttentionPool as AttentionPool
from lampq_tvm.network.operators.average_heads import AverageHeads as AverageHeads
from lampq_tvm.network.operators.heads import Rotary as Rotary
from lampq_tvm.network.operators.heads import UnitHeads as UnitHeads
from lampq_tvm.network.operators.layer_norm import LayerNorm as LayerNorm
from lampq_tvm.network.operators.linear import Linear as Linear
from lampq_tvm.network.operators.matmul import MatMul as MatMul
from lampq_tvm.network.operators.matmul import Multiplies as Multiplies
from lampq_tvm.network.operators.patch_embed import PatchEmbed as PatchEmbed
from lampq_tvm.network.operators.regroup import Regroup as Regroup
from lampq_tvm.network.operators.residual import Residual as Residual
from lampq_tvm.network.operators.tokens import MeanTokens as MeanTokens
from lampq_tvm.network.operators.tokens import TakeToken as TakeToken
from lampq_tvm.network.shapes import infer_shapes
from lampq_tvm.store import load_stage, save_stage

LAYER_TYPES = ("patch_embed", "qkv", "proj", "fc1", "fc2", "head", "reduction")  # what recipes and plans may name


@dataclass(frozen=True)
class InputSpec:
    """The image a model takes.

    Attributes:
        channels, height, width: of the image.
        mean, std: per channel, for pixels in 0..1.
        interpolation, crop_pct: of the model's own preprocessing, used for images of another size.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0


@dataclass(frozen=True)
class Layer:
    """A row of the layer table: a product with weights.

    Attributes:
        params: weights N * K (the bias is not counted: it is not quantized).
        macs: multiply-adds for one image.
        reads_image: whether its input is the image, whose codes are pixels.
    """

    name: str
    type: str
    out_features: int
    in_features: int
    macs: int
    reads_image: bool = False

    @property
    def params(self) -> int:
        """Number of weights."""
        return self.out_features * self.in_features


@dataclass(frozen=True)
class ImportedModel:
    """A recognized model.

    Attributes:
        source: what it was made from (`timm:deit_tiny_patch16_224`, `file:vit.onnx`).
        ops: operators in execution order.
        outputs: names of the values that the network gives, float32: one of [B, classes], or one or more of [B, ...].
        input: the image it takes.
        weights: `trained` or `random`.
        has_classifier: whether the output are class logits.
        tensors: float32 arrays by name, and int32 indices.
    """

    source: str
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]
    input: InputSpec
    weights: str
    has_classifier: bool
    tensors: dict[str, np.ndarray]

    def op(self, name: str) -> Op:
        """The operator called `name`."""
        return next(op for op in self.ops if op.name == name)

    def consumers(self, name: str) -> list[Op]:
        """Operators that read the value `name`."""
        return [op for op in self.ops if name in op.inputs]

    @property
    def output(self) -> str:
        """Name of the one value that the network gives."""
        (name,) = self.outputs
        return name

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layer table, in execution order."""
        return layer_table(self.ops, self.shapes, self.tensors)

    @functools.cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every value without the batch, by name."""
        return infer_shapes(self.ops, self.input, self.tensors)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the inputs and outputs of all layers for one image, in float32."""
        return sum(4 * layer.macs // layer.params * (layer.in_features + layer.out_features) for layer in self.layers)

    def save(self, path: Path) -> None:
        """Write to one file."""
        meta = {
            "source": self.source,
            "ops": [op_to_json(op) for op in self.ops],
            "outputs": self.outputs,
            "input": dataclasses.asdict(self.input),
            "weights": self.weights,
            "has_classifier": self.has_classifier,
        }
        save_stage(path, "imported", meta, self.tensors)

    @staticmethod
    def load(path: Path) -> ImportedModel:
        """Read what `save` wrote."""
        meta, tensors = load_stage(path, "imported")
        return ImportedModel(
            source=meta["source"],
            ops=tuple(op_from_json(row, OPERATORS) for row in meta["ops"]),
            outputs=tuple(meta["outputs"]),
            input=InputSpec(**{**meta["input"], "mean": tuple(meta["input"]["mean"]), "std": tuple(meta["input"]["std"])}),
            weights=meta["weights"],
            has_classifier=meta["has_classifier"],
            tensors=tensors,
        )


def layer_table(ops: Iterable[Op], shapes: Mapping[str, Shape], tensors: Mapping[str, Shaped]) -> tuple[Layer, ...]:
    """Rows of the operators with weights, in the order of `ops`."""
    rows = []
    for op in ops:
        if isinstance(op, FloatOp) and op.layer_type is not None:
            n, *inner = tensors[f"{op.name}.weight"].shape
            k = math.prod(inner)
            rows.append(Layer(op.name, op.layer_type, n, k, op.product_rows(shapes[op.name]) * n * k, op.reads_image))
    return tuple(rows)


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
