"""Instructions of a model's kernels on every Arm level, counted one by one on an emulated core and added up.

    python -m bench.speed.kernel_counts          (figures in bench/results/kernel_counts.json)

One thread, batch 1, default schedules, random operands: no kernel's count depends on them. Beside the sum stands what the
multiply-adds alone would take with `sdot`, 16 of them an instruction. Counts are no times. The whole model, which adds the
runtime's own instructions, is counted by `bench/speed/arm_peers.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.common.networks import BOARDS, network
from bench.common.run import arguments, finish, machine
from lampq_tvm.device.native import count_kernel
from lampq_tvm.kernels.attention import AttentionShape, build_attention
from lampq_tvm.kernels.layernorm import build_layernorm
from lampq_tvm.kernels.product import build_product
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.latency.work import at_widths
from lampq_tvm.lower.module import default_schedules, lower_calls
from lampq_tvm.quantize.model import QAttention, QPatchEmbed, QProduct, QuantizedModel
from lampq_tvm.targets import Target, resolve_target

BLOCKS, TOKENS, PIXELS, HEAD, CLASSES = 12, 197, 768, 64, 1000
WIDTHS = {"dotprod": ((8, 8),), "i8mm": ((8, 8),), "neon": ((8, 8), (4, 8), (4, 4), (2, 4), (2, 2))}
CHANNELS = {"deit_tiny": 192, "deit_small": 384, "vit_base": 768}
EPILOGUES = ("stream", "codes", "residual", "table", "float")
NETWORKS = {"swin_tiny": "swin_tiny_patch4_window7_224"}
COLUMNS = ("model", "isa", "w_bits", "a_bits", "million", "products", "attention", "layernorm", "sdot_floor")


def products(channels: int) -> list[ProductShape]:
    """Products of a Vision Transformer with a class token."""
    return [
        ProductShape(TOKENS - 1, channels, PIXELS, "stream", TOKENS - 1),
        ProductShape(TOKENS, 3 * channels, channels, "codes"),
        ProductShape(TOKENS, channels, channels, "residual"),
        ProductShape(TOKENS, 4 * channels, channels, "table"),
        ProductShape(TOKENS, channels, 4 * channels, "residual"),
        ProductShape(1, CLASSES, channels, "float"),
    ]


def counted(function: Any, target: Target) -> float:
    """Million instructions of one call on random operands."""
    rng = np.random.default_rng(0)
    arrays = []
    for buffer in list(function.params)[:-1]:
        shape, dtype = [int(extent) for extent in buffer.shape], np.dtype(str(buffer.dtype))
        whole = np.issubdtype(dtype, np.integer)
        arrays.append((rng.integers(0, 8, shape) if whole else rng.uniform(0.1, 1, shape)).astype(dtype))
    return count_kernel(function, arrays, target)[1] / 1e6


def row(model: str, isa: str, w_bits: int, a_bits: int) -> dict[str, Any]:
    """A model on a level at one pair of widths; attention at 8 bits."""
    target, channels = resolve_target(BOARDS[isa]), CHANNELS[model]
    in_products, macs = 0.0, 0
    for shape in products(channels):
        times = 1 if shape.epilogue in ("stream", "float") else BLOCKS
        a = 8 if shape.epilogue == "stream" else a_bits
        in_products += times * counted(build_product(shape, isa, w_bits, a), target)
        macs += times * shape.rows * shape.n * shape.k
    heads = channels // HEAD
    attention = BLOCKS * counted(build_attention(AttentionShape(1, TOKENS, heads, HEAD), isa, 8), target)
    macs += BLOCKS * 2 * heads * TOKENS**2 * HEAD
    norms = (2 * BLOCKS + 1) * counted(build_layernorm(TOKENS, channels, 1e-6, True, isa), target)
    parts = {"products": in_products, "attention": attention, "layernorm": norms}
    total = {"million": round(sum(parts.values()), 1), "sdot_floor": round(macs / 16e6, 1), "kind": "estimated"}
    widths = {"model": model, "isa": isa, "w_bits": w_bits, "a_bits": a_bits}
    return {**widths, **total, **{name: round(value, 1) for name, value in parts.items()}}


def network_row(model: str, qm: QuantizedModel, isa: str, w_bits: int, a_bits: int) -> dict[str, Any]:
    """A network that is no plain Vision Transformer: every kernel that it calls, as often as it calls it."""
    target = resolve_target(BOARDS[isa])
    calls, context = lower_calls(at_widths(qm, w_bits, a_bits), isa, 1, default_schedules)
    each = {name: counted(build(), target) for name, build in {call.kernel: call.build for call in calls}.items()}
    parts = dict.fromkeys(("products", "attention", "layernorm", "others"), 0.0)
    for call in calls:
        begin = call.kernel.partition("_")[0]  # a product is named after its epilogue
        kind = begin if begin in parts else "products" if begin in EPILOGUES else "others"
        parts[kind] += each[call.kernel]
    macs = 0
    for op in qm.ops:
        if isinstance(op, QProduct | QPatchEmbed):
            macs += context.rows(op.name) * qm.tensors[f"{op.name}.w"].size
        elif isinstance(op, QAttention):
            macs += 2 * context.rows(op.name) * context.shapes[op.name][-2] * op.heads * op.head_dim
    total = {"million": round(sum(parts.values()), 1), "sdot_floor": round(macs / 16e6, 1), "kind": "estimated"}
    widths = {"model": model, "isa": isa, "w_bits": w_bits, "a_bits": a_bits}
    return {**widths, **total, **{name: round(value, 1) for name, value in parts.items()}}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "kernel_counts")
    parser.add_argument("--models", nargs="+", choices=[*CHANNELS, *NETWORKS], default=[*CHANNELS, *NETWORKS])
    options = parser.parse_args()
    rows = []
    for model in options.models:
        qm = network(NETWORKS[model]) if model in NETWORKS else None
        for isa, pairs in WIDTHS.items():
            rows += [network_row(model, qm, isa, *pair) if qm else row(model, isa, *pair) for pair in pairs]
    finish(options.output, COLUMNS, rows, machine=machine())


if __name__ == "__main__":
    main()
