"""Integer networks of published shapes whose constants are zeros: for what depends on shapes alone."""

from __future__ import annotations

import numpy as np

from lampq_tvm.bitplan import BitPlan
from lampq_tvm.kinds import Encode, Kind, of_width
from lampq_tvm.network.model import InputSpec, Op
from lampq_tvm.quantize import model as q
from lampq_tvm.quantize.model import QuantizedModel

CODES, LOOKED_UP = Encode(Kind.INT8), Encode(Kind.INT8, Kind.INT8)


class Network:
    """Collects operators and constants; `end` gives the network."""

    def __init__(self, side: int, channels: int) -> None:
        self.input = InputSpec(channels, side, side, (0.5,) * channels, (0.5,) * channels)
        self.ops: list[Op] = []
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, op: Op, **tensors: np.ndarray) -> str:
        self.ops.append(op)
        self.tensors |= {f"{op.name}.{field}": array for field, array in tensors.items()}
        return op.name

    def embed(self, patch: int, dim: int, prefix: int) -> str:
        tokens, k = (self.input.height // patch) ** 2, self.input.channels * patch * patch
        arrays = {"w": zeros(dim, k), "pos": zeros(tokens, dim), "prefix": zeros(prefix, dim)}
        return self.add(q.QPatchEmbed("embed", ("image",), patch, Kind.INT8), **arrays)

    def norm(self, source: str) -> str:
        return self.add(q.QLayerNorm(f"norm{len(self.ops)}", (source,), 1e-6, CODES))

    def product(self, kind: str, n: int, k: int, *inputs: str) -> str:
        encode, epilogue = {"codes": CODES, "table": LOOKED_UP}.get(kind), "codes" if kind == "table" else kind
        name = f"product{len(self.ops)}"
        return self.add(q.QProduct(name, inputs, epilogue, Kind.INT8, Kind.INT8, encode), w=zeros(n, k))

    def regroup(self, source: str, index: np.ndarray, dtype: str) -> str:
        rows = int(index.max()) + 1
        return self.add(q.QRegroup(f"order{len(self.ops)}", (source,), rows), index=index, fill=np.zeros(1, dtype))

    def block(self, stream: str, dim: int, heads: int, windows: int, tokens: int) -> str:
        """Attention, in windows where there are several, and two products around an activation."""
        y = self.norm(stream)
        cut = np.arange(tokens).reshape(windows, -1, 1)
        y = self.regroup(y, cut, "int8") if windows > 1 else y
        y = self.product("codes", 3 * dim, dim, y)
        y = self.add(q.QAttention(f"attention{len(self.ops)}", (y,), heads, dim // heads, Kind.INT8, CODES))
        y = self.regroup(y, np.arange(tokens)[:, None], "int8") if windows > 1 else y
        stream = self.product("residual", dim, dim, y, stream)
        y = self.product("table", 4 * dim, dim, self.norm(stream))
        return self.product("residual", dim, 4 * dim, y, stream)

    def end(self, pooled: str, classes: int, dim: int) -> QuantizedModel:
        codes = self.add(q.QToCodes("codes", (pooled,), CODES), affine=np.ones(2, np.float32))
        return self.ended(self.product("float", classes, dim, codes))

    def ended(self, output: str, attention_bits: int = 8) -> QuantizedModel:
        """The network with this output."""
        plan = BitPlan(model="shapes", attention_bits=attention_bits, layers=())
        return QuantizedModel(tuple(self.ops), (output,), self.input, plan, "random", True, self.tensors)


def zeros(*shape: int) -> np.ndarray:
    """Codes and constants alike; no memory behind them."""
    return np.broadcast_to(np.zeros((), np.int8), shape)


def vit(dim: int, depth: int, side: int = 224, channels: int = 3, patch: int = 16, classes: int = 1000) -> QuantizedModel:
    """DeiT-T is vit(192, 12), DeiT-S vit(384, 12)."""
    made = Network(side, channels)
    tokens = (side // patch) ** 2 + 1
    x = made.embed(patch, dim, 1)
    for _ in range(depth):
        x = made.block(x, dim, 3, 1, tokens)
    return made.end(made.add(q.QTakeToken("token", (x,), 0)), classes, dim)


def one_block(dim: int, side: int, heads: int, bits: int = 8) -> QuantizedModel:
    """A vision transformer of one block over side x side patches and a class token, as GPUs have kernels for.

    Args:
        bits: of attention; at 16 its input and output are float16.
    """
    made, kind = Network(side, 3), of_width(bits)
    x = made.embed(1, dim, 1)
    qkv = made.add(q.QProduct("qkv", (made.norm(x),), "codes", Kind.INT8, Kind.INT8, Encode(kind)), w=zeros(3 * dim, dim))
    attended = made.add(q.QAttention("attention", (qkv,), heads, dim // heads, kind, CODES))
    x = made.product("residual", dim, dim, attended, x)
    fc1 = q.QProduct("fc1", (made.norm(x),), "codes", Kind.INT8, Kind.INT8, LOOKED_UP)
    hidden = made.add(fc1, w=zeros(4 * dim, dim), table=np.zeros(256, np.int8))
    x = made.product("residual", dim, 4 * dim, hidden, x)
    token = made.norm(made.add(q.QTakeToken("token", (x,), 0)))
    return made.ended(made.product("float", 10, dim, token), bits)


def swin(dim: int = 96, depths: tuple[int, ...] = (2, 2, 6, 2), side: int = 224, window: int = 7) -> QuantizedModel:
    """Swin-T's stages: windows of 7 x 7 tokens, patches merged four by four between stages."""
    made = Network(side, 3)
    x, width = made.embed(4, dim, 0), side // 4
    x = made.add(q.QFloatNorm("norm_embed", (x,), 1e-5))
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            x = made.block(x, dim, 3 << stage, (width // window) ** 2, width * width)
        if stage + 1 < len(depths):
            x = made.regroup(x, np.arange(width * width).reshape(-1, 4), "float32")
            width, dim = width // 2, 2 * dim
            x = made.product("float", dim, 2 * dim, made.norm(x))
    x = made.add(q.QFloatNorm("norm_end", (x,), 1e-5))
    return made.end(made.add(q.QMeanTokens("mean", (x,), 0)), 1000, dim)
