"""The patch embedding."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.op import IMAGE
from lampq_tvm.network.operators.patch_embed import PatchEmbed
from lampq_tvm.quantize.build_rules import PAYLOAD, REALS
from lampq_tvm.quantize.builder import Builder
from lampq_tvm.quantize.operators.patch_embed import QPatchEmbed


@REALS.register(PatchEmbed)
def stream_start(b: Builder, op: PatchEmbed) -> str:
    """Pixels to the stream."""
    p, kind = b.product(op), b.plan.layer(op.name).w
    return b.add(
        QPatchEmbed(op.name, (IMAGE,), op.patch, kind, *b.decoding(op)),
        **p.weights,
        S=p.S.astype(np.float32),
        B=p.B.astype(np.float32),
        pos=b.f32(f"{op.name}.pos"),
        prefix=b.f32(f"{op.name}.prefix"),
    )


@PAYLOAD.register(PatchEmbed)
def patch_embed_bytes(model: ImportedModel, op: PatchEmbed, floats: Collection[str]) -> int:
    """S and B of each channel, positions and prefix tokens."""
    return 8 * len(model.tensors[f"{op.name}.weight"]) + 4 * sum(
        model.tensors[f"{op.name}.{k}"].size for k in ("pos", "prefix")
    )
