"""The patch embedding."""

from __future__ import annotations

from dataclasses import replace

from lampq_tvm.kernels.cuda import tokens
from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, array
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.lower.cuda.operators.product import product_launch
from lampq_tvm.quantize.operators.patch_embed import QPatchEmbed


@RULES.register(QPatchEmbed)
def lower_patch_embed(op: QPatchEmbed, c: CudaContext) -> list[Launch]:
    """Patches as rows, their product onto the positions, prefix tokens in front."""
    spec, n = c.input, c.tensors[f"{op.name}.w"].shape[0]
    count, k = (spec.height // op.patch) * (spec.width // op.patch), spec.channels * op.patch * op.patch
    prefix, period = len(c.tensors[f"{op.name}.prefix"]), len(c.tensors[f"{op.name}.pos"])
    sizes, kind = (c.batch, spec.channels, spec.height, spec.width, op.patch), Kind.FLOAT16 if op.w.is_float else Kind.INT8
    patches = c.add(f"{op.name}.patches", kind.dtype, (count, k))
    launches = [
        Launch(
            "patches_" + "x".join(map(str, sizes)) + ("_f16" if kind.is_float else ""),
            lambda name: tokens.build_patches(*sizes, name=name, out=kind),
            {"image": "image"},
            {},
            ("out", patches),
        )
    ]
    shape = ProductShape(c.batch * count, n, k, "stream", count if prefix else period)
    mma = mma_for(op.multiplied, Kind.INT8, c.arch)
    embedded = c.add(f"{op.name}.tokens" if prefix else op.name, "float32", (prefix + count, n))
    product = product_launch(c, c.group(op.name), shape, mma, patches.name, embedded, prefix=prefix)
    if shape.period != period:  # one position for all patches
        product = replace(product, params={**product.params, "pos": {**array(f"{op.name}.pos"), "times": count}})
    launches.append(product)
    if prefix:
        out = c.add(op.name, "float32")
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
