"""Small random Vision Transformers in the frontend's form, and their calibration."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.frontend import model as f
from lampq_tvm.store import Units

VARIANTS = ("token", "norm_then_mean", "mean_then_norm", "two_heads", "headless")


def tiny_model(variant: str = "token", *, depth: int = 2, dim: int = 40, heads: int = 4, act: str = "gelu", seed: int = 0):
    """A ViT on 12 x 12 images of 2 channels, patch 4, whose ending is one of VARIANTS."""
    rng = np.random.default_rng(seed)
    prefix = {"token": 1, "two_heads": 2, "headless": 1}.get(variant, 0)
    tensors: dict[str, np.ndarray] = {}
    ops: list[f.Op] = [f.PatchEmbed("patch", ("image",), 4, prefix)]
    layers = [f.Layer("patch", "patch_embed", dim, 32, 9 * dim * 32)]
    tensors["patch.weight"] = rng.normal(0, 0.2, (dim, 2, 4, 4))
    tensors["patch.bias"] = rng.normal(0, 0.1, dim)
    tensors["patch.pos"] = rng.normal(0, 0.2, (9, dim))
    tensors["patch.prefix"] = rng.normal(0, 0.5, (prefix, dim))

    def norm(name: str, source: str) -> str:
        ops.append(f.LayerNorm(name, (source,), 1e-6))
        tensors[f"{name}.gamma"] = rng.uniform(0.2, 3, dim)
        tensors[f"{name}.beta"] = rng.normal(0, 0.5, dim)
        return name

    def linear(name: str, source: str, kind: str, n: int, k: int) -> str:
        ops.append(f.Linear(name, (source,), kind))
        layers.append(f.Layer(name, kind, n, k, (9 + prefix) * n * k))
        tensors[f"{name}.weight"] = rng.normal(0, 1.3 / np.sqrt(k), (n, k))
        tensors[f"{name}.bias"] = rng.normal(0, 0.2, n)
        return name

    def add(name: str, stream: str, branch: str) -> str:
        ops.append(f.Residual(name, (stream, branch)))
        tensors[f"{name}.scale"] = rng.uniform(0.5, 1, dim)
        return name

    x = "patch"
    for i in range(depth):
        b = f"blocks.{i}"
        y = linear(f"{b}.qkv", norm(f"{b}.norm1", x), "qkv", 3 * dim, dim)
        ops.append(f.Attention(f"{b}.attn", (y,), heads, dim // heads, (dim // heads) ** -0.5))
        x = add(f"{b}.add1", x, linear(f"{b}.proj", f"{b}.attn", "proj", dim, dim))
        y = linear(f"{b}.fc1", norm(f"{b}.norm2", x), "fc1", 2 * dim, dim)
        ops.append(f.Activation(f"{b}.act", (y,), act))
        x = add(f"{b}.add2", x, linear(f"{b}.fc2", f"{b}.act", "fc2", dim, 2 * dim))

    output = _ending(variant, x, ops, norm, linear, dim)
    return f.ImportedModel(
        source=f"tiny:{variant}",
        ops=tuple(ops),
        output=output,
        layers=tuple(layers),
        input=f.InputSpec(2, 12, 12, (0.4, 0.5), (0.3, 0.25)),
        weights="random",
        has_classifier=variant != "headless",
        tensors={k: v.astype(np.float32) for k, v in tensors.items()},
    )


def _ending(variant, x, ops, norm, linear, dim) -> str:
    if variant == "norm_then_mean":
        ops.append(f.MeanTokens("pool", (norm("norm", x),), 0))
        return linear("head", "pool", "head", 7, dim)
    if variant == "mean_then_norm":
        ops.append(f.MeanTokens("pool", (x,), 0))
        return linear("head", norm("fc_norm", "pool"), "head", 7, dim)
    norm("norm", x)
    ops.append(f.TakeToken("take0", ("norm",), 0))
    if variant == "headless":
        return "take0"
    linear("head", "take0", "head", 7, dim)
    if variant == "token":
        return "head"
    ops.append(f.TakeToken("take1", ("norm",), 1))
    linear("head_dist", "take1", "head", 7, dim)
    ops.append(f.AverageHeads("average", ("head", "head_dist")))
    return "average"


def tiny_images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random images [count, 2, 12, 12] uint8 that use the whole range."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 2, 6, 6))
    noise = rng.integers(-30, 30, (count, 2, 12, 12))
    return np.clip(coarse.repeat(2, 2).repeat(2, 3) + noise, 0, 255).astype(np.uint8)


@functools.cache
def tiny_calibration(variant: str = "token", act: str = "gelu") -> Calibration:
    """Calibration of `tiny_model` on 24 images in two batches."""
    images = tiny_images(24)
    with tempfile.TemporaryDirectory() as folder:
        return calibrate(tiny_model(variant, act=act), [(images[:16], None), (images[16:], None)], units=Units(Path(folder)))
