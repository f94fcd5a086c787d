"""Small networks of every supported family, calibrated on random images, and plans for them."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.artifact.container import Artifact
from lampq_tvm.bitplan import BitPlan, LayerPlan, uniform_plan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.compiler.build import build
from lampq_tvm.frontend.load import load_model
from lampq_tvm.lower.module import default_schedules
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.store import Units
from lampq_tvm.targets import Target

SIZE = {"img_size": 20, "patch_size": 4, "embed_dim": 36, "depth": 2, "num_heads": 3, "num_classes": 5}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", SIZE),
    "one block": ("vit_tiny_patch16_224", SIZE | {"depth": 1}),
    "deit distilled": ("deit_tiny_distilled_patch16_224", SIZE),
    "deit3": ("deit3_small_patch16_224", SIZE),
    "dinov2": ("vit_small_patch14_reg4_dinov2", {k: v for k, v in SIZE.items() if k != "num_classes"}),
    "average pool": ("vit_tiny_patch16_224", SIZE | {"global_pool": "avg", "class_token": False}),
}
SWIN = {"depths": (2, 2), "num_heads": (2, 3), "embed_dim": 24, "num_classes": 5, "patch_size": 4}
FAMILIES |= {
    "swin": ("swin_tiny_patch4_window7_224", SWIN | {"img_size": 32, "window_size": 4}),
    "swin padded": ("swin_tiny_patch4_window7_224", SWIN | {"img_size": 40, "window_size": 4}),
    "beit": ("beit_base_patch16_224", SIZE),
    "swinv2": ("swinv2_tiny_window8_256", SWIN | {"img_size": 32, "window_size": 4, "depths": (2, 1)}),
    "clip": ("vit_base_patch32_clip_224", SIZE),
    "siglip": ("vit_base_patch16_siglip_224", SIZE | {"depth": 1}),
    "eva02": ("eva02_tiny_patch14_224", SIZE),
    "eva02 sub-LN": ("eva02_base_patch14_224", SIZE | {"depth": 1}),
}
WIDTHS = (2, 3, 4, 6, 8)


@functools.cache
def network(family: str) -> ImportedModel:
    """The model, its random weights made larger: timm's own would leave every softmax flat and every residual still."""
    name, args = FAMILIES[family]
    model = load_model(name, model_args=args)
    rng = np.random.default_rng(0)
    kinds = {
        "weight": lambda x: rng.normal(0, 1.6 / np.sqrt(x[0].size), x.shape),
        "bias": lambda x: rng.normal(0, 0.2, x.shape) if x.ndim == 1 else x + rng.normal(0, 1, x.shape),
        "gamma": lambda x: rng.uniform(0.5, 1.5, x.shape),
        "beta": lambda x: rng.normal(0, 0.3, x.shape),
        "scale": lambda x: rng.uniform(0.3, 1, x.shape) * (10 if x.size < 8 else 1),  # few: temperatures of cosine attention
    }
    made = {k: kinds[k.rpartition(".")[2]](v) for k, v in model.tensors.items() if k.rpartition(".")[2] in kinds}
    return dataclasses.replace(model, tensors=model.tensors | {k: v.astype(np.float32) for k, v in made.items()})


def images(family: str, count: int, seed: int = 1) -> np.ndarray:
    """Coarse random images [count, C, H, W] uint8 that use the whole range."""
    spec, rng = network(family).input, np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, spec.channels, -(-spec.height // 4), -(-spec.width // 4)))
    whole = coarse.repeat(4, 2).repeat(4, 3)[:, :, : spec.height, : spec.width]
    return np.clip(whole + rng.integers(-40, 40, whole.shape), 0, 255).astype(np.uint8)


@functools.cache
def calibration(family: str) -> Calibration:
    with tempfile.TemporaryDirectory() as folder:
        return calibrate(network(family), [(images(family, 16, 0), None)], units=Units(Path(folder)), widths=WIDTHS)


def mixed_plan(model: ImportedModel) -> BitPlan:
    """Every layer at a pair of its own; attention at 4 bits with log-sqrt2 codes."""
    pairs = [(4, 8), (8, 4), (2, 4), (6, 3), (2, 8), (8, 8), (4, 4), (3, 3), (6, 8), (8, 2), (3, 6)]
    rows = []
    for i, layer in enumerate(model.layers):
        w_bits, a_bits = pairs[i % len(pairs)]
        a_bits = 8 if layer.type == "patch_embed" else a_bits
        rows.append(LayerPlan(name=layer.name, type=layer.type, w_bits=w_bits, a_bits=a_bits, params=layer.params))
    return BitPlan(model=model.source, attention_bits=4, softmax="log_sqrt2", layers=tuple(rows))


@functools.cache
def quantized(family: str, plan: str) -> QuantizedModel:
    """The integer network under the plan `8/8`, `4/4` or `mixed`."""
    model = network(family)
    uniform = {"8/8": 8, "4/4": 4}
    made = uniform_plan(model, uniform[plan], uniform[plan]) if plan in uniform else mixed_plan(model)
    return quantize(calibration(family), made)


def artifact(qm: QuantizedModel, target: Target, batch: int = 1, tiles=default_schedules) -> Artifact:
    """The compiled network, as it would be read from a file."""
    sections, manifest = build(qm, target, batch=batch, tiles=tiles)
    return Artifact(manifest, sections, sum(map(len, sections.values())))


def first_difference(qm: QuantizedModel, found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> str | None:
    """The first operator whose values are not equal bit for bit; None where all are."""
    assert list(found) == [op.name for op in qm.ops] and set(found) == set(wanted)
    for op in qm.ops:
        mine, right = found[op.name], wanted[op.name]
        if (mine.shape, mine.dtype, mine.tobytes()) != (right.shape, right.dtype, right.tobytes()):
            return op.name
    return None
