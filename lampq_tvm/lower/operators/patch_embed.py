"""The patch embedding."""

from __future__ import annotations

import dataclasses

from lampq_tvm.kernels.image import build_patches
from lampq_tvm.kernels.moves import build_prepend
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.lower.operators.product import product_call
from lampq_tvm.quantize.operators.patch_embed import QPatchEmbed


@RULES.register(QPatchEmbed)
def lower_patch_embed(op: QPatchEmbed, c: Context) -> list[Call]:
    """Gather patches, multiply onto the positions, put the prefix tokens in front."""
    spec, n = c.input, c.tensors[f"{op.name}.w"].shape[0]
    count = (spec.height // op.patch) * (spec.width // op.patch)
    k = spec.channels * op.patch * op.patch
    prefix = len(c.tensors[f"{op.name}.prefix"])
    image = (c.batch, spec.channels, spec.height, spec.width, op.patch)
    gathered, embedded = f"{op.name}.patches", f"{op.name}.tokens" if prefix else op.name
    gather = Arguments().value("image")
    calls = [
        gather.call(
            "patches_" + "x".join(map(str, image)),
            lambda: build_patches(*image, c.isa),
            gathered,
            (c.batch * count, k),
            "int8",
        )
    ]
    shape = ProductShape(c.batch * count, n, k, "stream", len(c.tensors[f"{op.name}.pos"]))
    names = [f"{op.name}.S", f"{op.name}.B", f"{op.name}.pos"]
    product = product_call(c, op, gathered, shape, 8, lambda a: a.arrays(*names))
    calls.append(dataclasses.replace(product, value=embedded))
    if prefix:
        calls.append(
            Arguments()
            .value(embedded)
            .arrays(f"{op.name}.prefix")
            .call(
                f"prepend_b{c.batch}_p{prefix}_t{count}_c{n}",
                lambda: build_prepend(c.batch, prefix, count, n, c.isa),
                op.name,
                (c.batch * (prefix + count), n),
                "float32",
            )
        )
    return calls
