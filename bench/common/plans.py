"""Plans that benches write by hand."""

from __future__ import annotations

from collections.abc import Sequence

from lampq_tvm.bitplan import BitPlan, LayerPlan
from lampq_tvm.network.model import ImportedModel


def paired_plan(
    model: ImportedModel, pairs: Sequence[tuple[int, int]], attention_bits: int = 8, softmax: str = "uniform"
) -> BitPlan:
    """Layer i at the widths (w, a) of pairs[i mod len(pairs)]; the image stays at 8."""
    rows = []
    for i, layer in enumerate(model.layers):
        w, a = pairs[i % len(pairs)]
        widths = {"w_bits": w, "a_bits": 8 if layer.reads_image else a}
        rows.append(LayerPlan(name=layer.name, type=layer.type, params=layer.params, **widths))
    return BitPlan(model=model.source, attention_bits=attention_bits, softmax=softmax, layers=tuple(rows))
