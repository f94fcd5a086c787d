"""Lowering of products for a GPU: where their rows come from, their constants, and what is fused with them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.epilogue import CODED
from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.operand import Gather
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.cuda.turned import Turning
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import BITS, Launch, Recipe, Value, array, clamp, text_of
from lampq_tvm.lower.cuda.norms import following_norm
from lampq_tvm.plan import FLOAT_BITS
from lampq_tvm.quantize import model as q


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
    norm: q.QLayerNorm | None
    gather: Gather | None

    @property
    def eps(self) -> float | None:
        """Of the LayerNorm."""
        return None if self.norm is None else self.norm.eps

    @property
    def suffix(self) -> str:
        """Part of the kernel's name."""
        made = "" if self.norm is None else f"_e{text_of(self.norm.eps)}"
        return made if self.gather is None else f"{made}_g{self.gather.rows}_{self.gather.taken}"


def _rows(source: str, c: CudaContext) -> Rows:
    gathered, params, gather = c.gathered(source), {}, None
    if gathered is not None:
        gather = Gather(gathered.rows, c.rows(source) // c.batch)
        params["index"] = {**array(f"{source}.index"), "shape": [gather.taken], "dtype": "int32"}
        source = gathered.inputs[0]
    norm = c.fused.get(source)
    if norm is None:
        return Rows({"A": source}, params, None, gather)
    params |= {"G": array(f"{norm.name}.G"), "N": array(f"{norm.name}.B")}
    return Rows({"stream": norm.inputs[0]}, params | clamp(norm.out_bits, "bounds"), norm, gather)


def _constants(op: q.QProduct | q.QPatchEmbed, shape: ProductShape, mma: Mma, tiles: CudaTiles, bits: int) -> dict[str, Recipe]:
    """Weights, and what the epilogue reads; `bits` of the values that it packs."""
    scale = "M" if shape.epilogue in ("codes", "table") else "S"
    params = {"W": {"from": "words", "tensor": f"{op.name}.w", "bits": op.w_bits, "shape": [shape.n, shape.k]}}
    params["W"] |= {"layout": mma.name, "words": weight_words(shape, mma, tiles)}
    params |= {"S": array(f"{op.name}.{scale}"), "B": array(f"{op.name}.B")}
    out_bits = op.out_bits if isinstance(op, q.QProduct) else 8
    if shape.epilogue == "codes":
        params |= clamp(out_bits)
    if shape.epilogue in ("table", "stream"):
        name = "table" if shape.epilogue == "table" else "pos"
        params[name] = array(f"{op.name}.{name}")
    if shape.epilogue == "act" and bits < FLOAT_BITS:
        params |= {"affine": array(f"{op.name}.affine")} | clamp(out_bits)
    return params


def _launch(
    c: CudaContext,
    op: q.QProduct | q.QPatchEmbed,
    shape: ProductShape,
    mma: Mma,
    source: str,
    out: Value,
    *,
    prefix: int = 0,
    turned: q.QRotary | None = None,
) -> Launch:
    """Launch of a product, with a LayerNorm that was left to it, before it or after, or a rotation after it."""
    rows = _rows(source, c)
    tiles, act = c.tiles(shape, mma, rows.norm is not None), op.act if isinstance(op, q.QProduct) else ""
    bits = BITS[out.dtype] if shape.epilogue in CODED else 8
    params = rows.params | _constants(op, shape, mma, tiles, bits)
    after = following_norm(op, shape, tiles, c)
    following = None if after is None else after.following
    reads, also = (rows.reads, ()) if after is None else (rows.reads | after.reads, after.outs)
    params |= {} if after is None else after.params
    turning = None
    if turned is not None:
        turning = Turning(len(c.tensors[f"{turned.name}.cos"]), turned.heads, turned.head_dim)
        params |= {name: array(f"{turned.name}.{name}") for name in ("cos", "sin", "inv")} | clamp(turned.out_bits)

    def build(name: str) -> CudaKernel:
        made = functools.partial(build_product, shape, mma, out_bits=bits, prefix=prefix, tiles=tiles)
        return made(norm_eps=rows.eps, act=act, following=following, gather=rows.gather, turning=turning, name=name)

    key = f"{shape.key}_{mma.name}_o{bits}" + (f"_f{prefix}" if prefix else "") + rows.suffix + act
    key += ("" if after is None else after.suffix) + ("" if turning is None else turning.suffix) + f"_t{tiles.key}"
    over = op.inputs[1] if shape.epilogue == "residual" else None
    rate = {"s4": "int4", "f16": "fp16"}.get(mma.name, "int8")
    macs = shape.rows * shape.n * shape.k
    return Launch(key, build, reads, params, ("out", out), over, also, macs, rate)


def lower_product(op: q.QProduct, c: CudaContext) -> list[Launch]:
    """Product with its epilogue."""
    source, shape, turned = op.inputs[0], c.product_shape(op), c.turned(op)
    sizes, mma = (*c.shapes[source][:-1], shape.n), c.mma(op)
    if turned is not None:
        c.made.add(turned.name)
        return [_launch(c, op, shape, mma, source, c.coded(turned.name, sizes, turned.out_bits), turned=turned)]
    bits = FLOAT_BITS if op.epilogue == "table" and c.tensors[f"{op.name}.table"].dtype == np.float16 else op.out_bits
    out = c.coded(op.name, sizes, bits) if op.epilogue in CODED else c.add(op.name, sizes, "float32")
    return [_launch(c, op, shape, mma, source, out)]


def lower_patch_embed(op: q.QPatchEmbed, c: CudaContext) -> list[Launch]:
    """Patches as rows, their product onto the positions, prefix tokens in front."""
    spec, n = c.input, c.tensors[f"{op.name}.w"].shape[0]
    count, k = (spec.height // op.patch) * (spec.width // op.patch), spec.channels * op.patch * op.patch
    prefix, period = len(c.tensors[f"{op.name}.prefix"]), len(c.tensors[f"{op.name}.pos"])
    sizes, bits = (c.batch, spec.channels, spec.height, spec.width, op.patch), FLOAT_BITS if op.w_bits == FLOAT_BITS else 8
    patches = c.add(f"{op.name}.patches", (count, k), "float16" if bits == FLOAT_BITS else "int8")
    launches = [
        Launch(
            "patches_" + "x".join(map(str, sizes)) + ("" if bits == 8 else "_f16"),
            lambda name: tokens.build_patches(*sizes, name=name, bits=bits),
            {"image": "image"},
            {},
            ("out", patches),
        )
    ]
    shape = ProductShape(c.batch * count, n, k, "stream", count if prefix else period)
    mma = mma_for(op.w_bits, 8, c.arch)
    embedded = c.add(f"{op.name}.tokens" if prefix else op.name, (prefix + count, n), "float32")
    product = _launch(c, op, shape, mma, patches.name, embedded, prefix=prefix)
    if shape.period != period:  # one position for all patches
        product = replace(product, params={**product.params, "pos": {**array(f"{op.name}.pos"), "times": count}})
    launches.append(product)
    if prefix:
        out = c.add(op.name, (prefix + count, n), "float32")
        launches.append(
            Launch(
                f"prefix_b{c.batch}_p{prefix}_t{prefix + count}_c{n}",
                lambda name: tokens.build_prefix(c.batch, prefix, prefix + count, n, name=name),
                {},
                {"prefix": array(f"{op.name}.prefix")},
                ("out", out),
                embedded.name,
            )
        )
    return launches
