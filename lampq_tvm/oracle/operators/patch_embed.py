"""The patch embedding."""

from __future__ import annotations

from lampq_tvm.oracle import ops
from lampq_tvm.oracle.operators import RULES, Array
from lampq_tvm.quantize.operators.patch_embed import QPatchEmbed


@RULES.register(QPatchEmbed)
def patch_embed(op: QPatchEmbed, t: dict[str, Array], x: list[Array]) -> Array:
    """Pixel codes to the stream."""
    return ops.patch_embed(x[0], t["w"], t["S"], t["B"], t["pos"], t["prefix"], op.patch)
