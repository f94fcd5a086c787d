"""What the frontend returns: the recognized Vision Transformer as a short list of float operators.

An `ImportedModel` holds everything later stages need of the network: operators in the order of execution, each naming
the values it reads, and the tensors they use. The original torch module is not needed after import.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.store import load_stage, save_stage

LAYER_TYPES = ("patch_embed", "qkv", "proj", "fc1", "fc2", "head", "reduction")
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")


@dataclass(frozen=True)
class Op:
    """An operator; its output value carries the operator's name.

    Attributes:
        name: unique name, the parameter path in the source model where it has one (`blocks.0.attn.qkv`).
        inputs: names of the values it reads; `image` is the network's input.
    """

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class PatchEmbed(Op):
    """Convolution with stride = kernel over the image, tokens in row-major order, then positions and prefix tokens.

    Tensors: `{name}.weight` [N, C, p, p], `{name}.bias` [N], `{name}.pos` [T - P, N] added to the patch tokens ([1, N] where
    all get the same),
    `{name}.prefix` [P, N] rows put in front (token + its position; P may be 0). Output: stream [B, T, N].
    """

    patch: int
    prefix_tokens: int


@dataclass(frozen=True)
class LayerNorm(Op):
    """LayerNorm over channels. Tensors: `{name}.gamma` [C], `{name}.beta` [C]."""

    eps: float


@dataclass(frozen=True)
class Linear(Op):
    """y = x W^T + b. Tensors: `{name}.weight` [N, K], `{name}.bias` [N] (zeros where the model has none)."""

    type: str


@dataclass(frozen=True)
class Attention(Op):
    """Softmax attention over a fused qkv value [B, T, 3 * heads * head_dim] (q, then k, then v, each head-major).

    Output: [B, T, heads * head_dim]; scores are multiplied by `scale` before the softmax. With windows the value is
    [B, windows, T, channels] and tokens see those of their window only.
    Tensor, where `groups` is not 0: `{name}.bias` [groups, heads, T, T], added to the scaled scores; window w takes group
    w % groups.
    """

    heads: int
    head_dim: int
    scale: float
    groups: int = 0


@dataclass(frozen=True)
class AttentionPool(Op):
    """Softmax attention of constant queries over a fused kv value [B, T, 2 * heads * head_dim] (k, then v, each head-major).

    Tensor: `{name}.query` [heads, L, head_dim]. Output: [B, L, heads * head_dim].
    """

    heads: int
    head_dim: int
    scale: float


@dataclass(frozen=True)
class UnitHeads(Op):
    """q and k of a fused qkv value over their lengths (at least eps), head by head; q then times `{name}.scale` [heads]."""

    heads: int
    head_dim: int
    eps: float


@dataclass(frozen=True)
class Rotary(Op):
    """q and k of a fused qkv value turned head by head: x * cos + x[partner] * sin, the sign being that of sin.

    Tensors: `{name}.cos`, `{name}.sin` [T, head_dim]; `{name}.partner` int32 [head_dim].
    """

    heads: int
    head_dim: int


@dataclass(frozen=True)
class Gate(Op):
    """activation(gate) * value, inputs (gate, value): columns [gate_at, gate_at + width) and [value_at, ..) of layers."""

    kind: str
    gate_at: int
    value_at: int
    width: int


@dataclass(frozen=True)
class Activation(Op):
    """Unary function, one of `ACTIVATIONS`."""

    kind: str


@dataclass(frozen=True)
class Residual(Op):
    """stream + branch * scale; inputs (stream, branch: a linear layer or a LayerNorm). Tensor: `{name}.scale` [C], LayerScale
    or ones."""


@dataclass(frozen=True)
class Regroup(Op):
    """Tokens put in another order, cut into windows, or several of them joined to one (patch merging).

    Tensor: `{name}.index` int32 [T', parts] or [windows, T', parts]: which of the input's `rows` tokens of an image (those of
    its windows one after another) stands there, -1 for a token of zeros. Output: [B, (windows,) T', parts * C].
    """

    rows: int


@dataclass(frozen=True)
class TakeToken(Op):
    """Token `index` of [B, T, C], giving [B, C]."""

    index: int


@dataclass(frozen=True)
class MeanTokens(Op):
    """Mean over tokens `start` .. T-1 of [B, T, C], giving [B, C]."""

    start: int


@dataclass(frozen=True)
class AverageHeads(Op):
    """(a + b) / 2 of two classifiers' logits."""


OP_TYPES = {
    c.__name__: c
    for c in (
        PatchEmbed, LayerNorm, Linear, Attention, AttentionPool, UnitHeads, Rotary, Activation, Gate, Residual, Regroup,
        TakeToken, MeanTokens, AverageHeads,
    )
}  # fmt: skip


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
    """

    name: str
    type: str
    out_features: int
    in_features: int
    macs: int

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
        output: name of the value that is the network's output: [B, classes] float32.
        layers: the layer table, in execution order.
        input: the image it takes.
        weights: `trained` or `random`.
        has_classifier: whether the output are class logits.
        tensors: float32 arrays by name, and int32 indices.
    """

    source: str
    ops: tuple[Op, ...]
    output: str
    layers: tuple[Layer, ...]
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
    def activation_bytes(self) -> int:
        """Bytes of the inputs and outputs of all layers for one image, in float32."""
        return sum(4 * layer.macs // layer.params * (layer.in_features + layer.out_features) for layer in self.layers)

    def save(self, path: Path) -> None:
        """Write to one file."""
        meta = {
            "source": self.source,
            "ops": [op_to_json(op) for op in self.ops],
            "output": self.output,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
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
            ops=tuple(op_from_json(row, OP_TYPES) for row in meta["ops"]),
            output=meta["output"],
            layers=tuple(Layer(**row) for row in meta["layers"]),
            input=InputSpec(**{**meta["input"], "mean": tuple(meta["input"]["mean"]), "std": tuple(meta["input"]["std"])}),
            weights=meta["weights"],
            has_classifier=meta["has_classifier"],
            tensors=tensors,
        )


def op_to_json(op: Op) -> dict[str, Any]:
    """An operator's JSON row: its fields, and `op`, the name of its class."""
    return {"op": type(op).__name__, **dataclasses.asdict(op)}


def op_from_json(row: dict[str, Any], types: dict[str, Any]) -> Any:
    """An operator dataclass from its JSON row (lists become tuples)."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items() if k != "op"}
    return types[row["op"]](**fields)


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
