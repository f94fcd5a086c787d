"""Which kernel makes a LayerNorm: the product after it where rows are few, else the one before it, else one of its own."""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.allocate.plan import FLOAT_BITS
from lampq_tvm.kernels.cuda.fits import product_fits
from lampq_tvm.kernels.cuda.following import Following
from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import BITS, Launch, Recipe, Value, array, clamp, code_range, text_of
from lampq_tvm.quantize import model as q

FUSED_ROWS = 512  # up to here a LayerNorm made again by every block of the product after it costs less than to store it


@dataclass(frozen=True)
class After:
    """A LayerNorm that a product onto a stream makes of it: what the kernel needs, its constants, its value."""

    following: Following
    params: dict[str, Recipe]
    value: Value

    @property
    def suffix(self) -> str:
        """Part of the kernel's name."""
        return f"_n{self.following.bits}e{text_of(self.following.eps)}"


def following_norm(
    op: q.QProduct | q.QPatchEmbed, shape: ProductShape, tiles: CudaTiles, c: CudaContext
) -> After | None:
    """The only LayerNorm to codes of a stream that a product adds to, unless its reader makes it; its value is noted."""
    if shape.epilogue != "residual":
        return None
    norms = [reader for reader in c.readers(op.name) if isinstance(reader, q.QLayerNorm)]
    if len(norms) != 1 or _made_by_reader(norms[0], c):
        return None
    norm = norms[0]
    params = {f"next_{letter}": array(f"{norm.name}.{letter}") for letter in "GB"}
    params["count"] = {"from": "values", "values": [0] * -(-shape.rows // tiles.rows), "dtype": "int32"}
    if norm.out_bits < FLOAT_BITS:
        params["next_range"] = code_range(norm.out_bits)
    value = c.coded(norm.name, c.shapes[op.name], norm.out_bits)
    return After(Following(BITS[value.dtype], norm.eps), params, value)


def lower_norm(op: q.QLayerNorm | q.QFloatNorm, c: CudaContext) -> list[Launch]:
    """LayerNorm to codes or to float, unless a product makes it."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.shapes[source][-1]
    if op.name in c.values:
        return []
    if isinstance(op, q.QLayerNorm) and _made_by_reader(op, c):
        c.fused[op.name] = op
        c.shapes[op.name] = c.shapes[source]
        return []
    params = {"G": array(f"{op.name}.G"), "B": array(f"{op.name}.B")}
    bits: int | None = None
    if isinstance(op, q.QLayerNorm):
        out = c.coded(op.name, c.shapes[source], op.out_bits)
        bits = BITS[out.dtype]
        params |= clamp(op.out_bits)
    else:
        out = c.add(op.name, c.shapes[source], "float32")
    name = f"norm_{out.dtype}_r{rows}_c{channels}_e{text_of(op.eps)}"
    return [
        Launch(
            name,
            lambda name: build_norm(rows, channels, op.eps, out_bits=bits, name=name),
            {"stream": source},
            params,
            ("out", out),
        )
    ]


def _made_by_reader(norm: q.QLayerNorm, c: CudaContext) -> bool:
    """Whether a LayerNorm's only reader makes it itself: a product of few rows, whose shared memory holds them."""
    source, readers = norm.inputs[0], c.readers(norm.name)
    reader, rows, channels = readers[0], c.rows(source), c.shapes[source][-1]
    if len(readers) > 1 or not isinstance(reader, q.QProduct) or rows > FUSED_ROWS or source in reader.inputs[1:]:
        return False  # blocks would read whole rows of a stream that others are writing over
    mma, n = c.mma(reader), c.tensors[f"{reader.name}.w"].shape[0]
    shape = ProductShape(rows, n, channels, reader.epilogue)
    return product_fits(shape, mma, c.records.product(shape, mma, True), c.arch, normed=True)
