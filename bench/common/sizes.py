"""Bytes that a quantized model cannot avoid."""

from __future__ import annotations

from lampq_tvm.quantize.model import QPatchEmbed, QProduct, QuantizedModel


def weight_widths(qm: QuantizedModel) -> dict[str, int]:
    """Width in bits of each array of weight codes, by name."""
    return {f"{op.name}.w": op.w_bits for op in qm.ops if isinstance(op, QProduct | QPatchEmbed)}


def weight_bytes(qm: QuantizedModel) -> float:
    """Bytes of the weights alone, at exactly their width."""
    return sum(qm.tensors[name].size * bits / 8 for name, bits in weight_widths(qm).items())


def unavoidable_bytes(qm: QuantizedModel) -> float:
    """Bytes of the weights at exactly their width, of the float arrays and of the tables."""
    known = weight_widths(qm)
    return weight_bytes(qm) + sum(array.nbytes for name, array in qm.tensors.items() if name not in known)
