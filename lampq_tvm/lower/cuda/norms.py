"""Which kernel makes a LayerNorm: the product after it where a chip has room, else the one before it, else one of its own."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from lampq_tvm.kernels.cuda.fits import product_fits
from lampq_tvm.kernels.cuda.following import Following
from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kernels.cuda.tiles import CudaTiles, default_tiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import BITS, Launch, Recipe, Value, array, clamp, text_of
from lampq_tvm.network.model import Op
from lampq_tvm.quantize import model as q
from lampq_tvm.targets.board import boards

REPEATED = 2  # blocks a multiprocessor that may make a LayerNorm again: so few work side by side, more would take turns
MOST_CHANNELS = 1024  # of a LayerNorm behind a product, whose registers a lane's elements of a row would not fit


@functools.cache
def multiprocessors(arch: str) -> int:
    """Of the largest chip that `targets/` has of an architecture; none is known of others."""
    return max((board.gpu.sms for board in boards().values() if board.gpu and board.gpu.arch == arch), default=0)


@dataclass(frozen=True)
class After:
    """A LayerNorm that a product makes of what it leaves: what the kernel needs, its buffers, its values."""

    following: Following
    reads: dict[str, str]
    params: dict[str, Recipe]
    outs: tuple[tuple[str, Value], ...]

    @property
    def suffix(self) -> str:
        """Part of the kernel's name."""
        return f"_{'a' if self.following.summed else 'n'}{self.following.bits}e{text_of(self.following.eps)}"


def following_norm(op: q.QProduct | q.QPatchEmbed, shape: ProductShape, tiles: CudaTiles, c: CudaContext) -> After | None:
    """The LayerNorm that a product makes itself, if any; its values are noted."""
    count: Recipe = {"from": "values", "values": [0] * -(-shape.rows // tiles.rows), "dtype": "int32"}
    if shape.epilogue == "residual":
        return _codes_of_stream(op, count, c)
    return _sum_with_stream(op, count, c) if shape.epilogue == "float" else None


def _codes_of_stream(op: Op, count: Recipe, c: CudaContext) -> After | None:
    """The only LayerNorm to codes of the stream that a product adds to, unless its reader makes it."""
    norms = [reader for reader in c.readers(op.name) if isinstance(reader, q.QLayerNorm)]
    if len(norms) != 1 or _made_by_reader(norms[0], c) or c.shapes[op.name][-1] > MOST_CHANNELS:
        return None
    norm = norms[0]
    value = c.coded(norm.name, c.shapes[op.name], norm.out_bits)
    c.made.add(norm.name)
    params = _constants(norm, count) | clamp(norm.out_bits, "next_range")
    return After(Following(BITS[value.dtype], norm.eps), {}, params, (("codes", value),))


def _sum_with_stream(op: Op, count: Recipe, c: CudaContext) -> After | None:
    """The LayerNorm that alone reads a product and is added to a stream, the sum, and its codes where there are any."""
    norm = c.only_reader(op.name)
    total = None if norm is None else c.only_reader(norm.name)
    if not isinstance(norm, q.QFloatNorm) or not isinstance(total, q.QAdd):
        return None
    if total.inputs[1] != norm.name or total.inputs[0] not in c.values or c.shapes[op.name][-1] > MOST_CHANNELS:
        return None
    params, shape = _constants(norm, count), c.shapes[op.name]
    outs, bits = [("sum", c.add(total.name, shape, "float32"))], 0
    c.made |= {norm.name, total.name}
    codes = [reader for reader in c.readers(total.name) if isinstance(reader, q.QToCodes)]
    if len(codes) == 1:
        value = c.coded(codes[0].name, shape, codes[0].out_bits)
        outs, bits = [*outs, ("codes", value)], BITS[value.dtype]
        params |= {"next_affine": array(f"{codes[0].name}.affine")} | clamp(codes[0].out_bits, "next_range")
        c.made.add(codes[0].name)
    return After(Following(bits, norm.eps, summed=True), {"base": total.inputs[0]}, params, tuple(outs))


def _constants(norm: q.QLayerNorm | q.QFloatNorm, count: Recipe) -> dict[str, Recipe]:
    return {f"next_{letter}": array(f"{norm.name}.{letter}") for letter in "GB"} | {"count": count}


def lower_norm(op: q.QLayerNorm | q.QFloatNorm, c: CudaContext) -> list[Launch]:
    """LayerNorm to codes or to float, unless a product makes it."""
    source = op.inputs[0]
    rows, channels = c.rows(source), c.shapes[source][-1]
    if isinstance(op, q.QLayerNorm) and _made_by_reader(op, c):
        c.fused[op.name] = op
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
    """Whether a LayerNorm's only reader makes it itself: a product of few blocks, whose shared memory holds their rows.

    Every block beside another makes the same rows again: on a chip that they do not fill that costs nothing.
    """
    source, reader = norm.inputs[0], c.only_reader(norm.name)
    if not isinstance(reader, q.QProduct) or source in reader.inputs[1:]:
        return False  # blocks would read whole rows of a stream that others are writing over
    c.shapes.setdefault(norm.name, c.shapes[source])
    shape, mma = c.product_shape(reader), c.mma(reader)
    few = default_tiles(shape, mma).blocks(shape.rows, shape.n) <= REPEATED * multiprocessors(c.arch)
    return few and product_fits(shape, mma, c.tiles(shape, mma, True), c.arch, normed=True)
