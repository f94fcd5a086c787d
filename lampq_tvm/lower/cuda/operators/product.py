"""Products with weights: where their rows come from, their constants, and what is joined to them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.epilogue import CODED
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.operand import Gather
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.after import after_product
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group
from lampq_tvm.lower.cuda.launch import Launch, Recipe, Value, array, encoded, norm_text
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.quantize.model import QLayerNorm, QPatchEmbed, QProduct, QRegroup, QRotary


@dataclass(frozen=True)
class Rows:
    """Where a product's rows come from: a value, or the LayerNorm of a stream; one after the other, or by an index.

    Attributes:
        reads, params: the kernel's buffers.
        norm: the LayerNorm that was left to the product.
        gather: the order of the rows.
    """

    reads: dict[str, str]
    params: dict[str, Recipe]
    norm: QLayerNorm | None
    gather: Gather | None

    @property
    def eps(self) -> float | None:
        """Of the LayerNorm."""
        return None if self.norm is None else self.norm.eps

    @property
    def centred(self) -> bool:
        """Of the LayerNorm."""
        return self.norm is None or self.norm.centred

    @property
    def suffix(self) -> str:
        """Part of the kernel's name."""
        made = "" if self.norm is None else f"_{norm_text(self.norm)}"
        return made if self.gather is None else f"{made}_g{self.gather.rows}_{self.gather.taken}"


@RULES.register(QProduct)
def lower_product(op: QProduct, c: CudaContext) -> list[Launch]:
    """Product with its epilogue."""
    group, shape, mma = c.group(op.name), c.product_shape(op), c.mma(op)
    turned = group.behind(QRotary)
    if turned is not None:
        return [product_launch(c, group, shape, mma, op.inputs[0], c.coded(turned.name, turned.encode.stored))]
    out = c.add(op.name, "float32") if op.encode is None else c.coded(op.name, op.encode.stored)
    return [product_launch(c, group, shape, mma, op.inputs[0], out)]


def product_launch(
    c: CudaContext, group: Group, shape: ProductShape, mma: Mma, source: str, out: Value, *, prefix: int = 0
) -> Launch:
    """Launch of a product, with what is joined to it in front and behind."""
    op = group.root
    assert isinstance(op, QProduct | QPatchEmbed)
    rows = _rows(group, source, c)
    tiles, act = c.tiles(shape, mma, rows.norm is not None), op.act if isinstance(op, QProduct) else ""
    kind = Kind(out.dtype) if shape.epilogue in CODED else Kind.INT8
    looked_up = isinstance(op, QProduct) and op.encode is not None and op.encode.table is not None
    params = rows.params | _constants(op, shape, mma, tiles)
    after = after_product(group, shape, tiles, c)

    def build(name: str) -> CudaKernel:
        made = functools.partial(build_product, shape, mma, out=kind, table=looked_up, prefix=prefix, tiles=tiles)
        return made(
            norm_eps=rows.eps,
            centred=rows.centred,
            act=act,
            gather=rows.gather,
            following=after.following,
            turning=after.turning,
            name=name,
        )

    key = f"{shape.key}_{mma.name}_o{kind.bits}" + (f"_f{prefix}" if prefix else "") + rows.suffix + act
    key += "_table" if looked_up and act else ""
    key += after.suffix + f"_t{tiles.key}"
    over = op.inputs[1] if shape.epilogue == "residual" else None
    rate = {"s4": "int4", "f16": "fp16"}.get(mma.name, "int8")
    macs = shape.rows * shape.n * shape.k
    return Launch(key, build, rows.reads | after.reads, params | after.params, ("out", out), over, after.outs, macs, rate)


def _rows(group: Group, source: str, c: CudaContext) -> Rows:
    """What a product reads, by what is joined in front of it."""
    gathered, norm = group.in_front(QRegroup), group.in_front(QLayerNorm)
    params: dict[str, Recipe] = {}
    gather = None
    if gathered is not None:
        gather = Gather(gathered.rows, c.rows(source) // c.batch)
        params["index"] = {**array(f"{source}.index"), "shape": [gather.taken], "dtype": "int32"}
        source = gathered.inputs[0]
    if norm is None:
        return Rows({"A": source}, params, None, gather)
    params |= {"G": array(f"{norm.name}.G"), "N": array(f"{norm.name}.B")}
    return Rows({"stream": norm.inputs[0]}, params | encoded(norm.name, norm.encode, "bounds"), norm, gather)


def _constants(op: QProduct | QPatchEmbed, shape: ProductShape, mma: Mma, tiles: CudaTiles) -> dict[str, Recipe]:
    """Weights, and what the epilogue reads."""
    scale = "M" if shape.epilogue in ("codes", "table") else "S"
    params = {"W": {"from": "words", **op.weights([shape.n, shape.k])}}
    params["W"] |= {"layout": mma.name, "words": weight_words(shape, mma, tiles)}
    params |= {"S": array(f"{op.name}.{scale}"), "B": array(f"{op.name}.B")}
    if shape.epilogue == "stream":
        params["pos"] = array(f"{op.name}.pos")
    encode = op.encode if isinstance(op, QProduct) else None
    if encode is not None:
        params |= encoded(op.name, encode)
        if shape.epilogue == "act" and not encode.grid.is_float:
            params["affine"] = array(f"{op.name}.affine")
    return params
