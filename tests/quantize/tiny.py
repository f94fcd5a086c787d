"""Small random Vision Transformers in the frontend's form, and their calibration."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.network import model as f
from lampq_tvm.store import Units

VARIANTS = ("token", "norm_then_mean", "mean_then_norm", "two_heads", "headless", "windows", "cosine", "rotary", "pool")


def tiny_model(variant: str = "token", *, depth: int = 2, dim: int = 40, heads: int = 4, act: str = "gelu", seed: int = 0):
    """A ViT on 12 x 12 images of 2 channels, patch 4, whose ending is one of VARIANTS."""
    rng = np.random.default_rng(seed)
    prefix = {"token": 1, "two_heads": 2, "headless": 1}.get(variant, 0)
    tensors: dict[str, np.ndarray] = {}
    ops: list[f.Op] = [f.PatchEmbed("patch", ("image",), 4, prefix)]
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
        tensors[f"{name}.weight"] = rng.normal(0, 1.3 / np.sqrt(k), (n, k))
        tensors[f"{name}.bias"] = rng.normal(0, 0.2, n)
        return name

    def add(name: str, stream: str, branch: str) -> str:
        ops.append(f.Residual(name, (stream, branch)))
        tensors[f"{name}.scale"] = rng.uniform(0.5, 1, dim)
        return name

    def regroup(name: str, source: str, rows: int, index: np.ndarray) -> str:
        ops.append(f.Regroup(name, (source,), rows))
        tensors[f"{name}.index"] = index.astype(np.int32)
        return name

    windows = variant == "windows"
    order = rng.permutation(np.r_[range(9), -1, -1, -1]).reshape(3, 4, 1)  # three windows of four, padded with zeros
    x = "patch"
    for i in range(depth):
        b = f"blocks.{i}"
        y = norm(f"{b}.norm1", x)
        y = regroup(f"{b}.cut", y, 9, order) if windows else y
        y = _heads(variant, linear(f"{b}.qkv", y, "qkv", 3 * dim, dim), ops, tensors, heads, dim // heads, rng)
        ops.append(f.Attention(f"{b}.attn", (y,), heads, dim // heads, (dim // heads) ** -0.5, 3 if windows else 0))
        if windows:
            tensors[f"{b}.attn.bias"] = rng.choice([-100, -1, 0, 2], (3, heads, 4, 4), p=[0.3, 0.2, 0.2, 0.3])
            tensors[f"{b}.attn.bias"][..., range(4), range(4)] = 0.5
        y = regroup(f"{b}.join", f"{b}.attn", 12, np.argsort(order.ravel())[3:, None]) if windows else f"{b}.attn"
        y = linear(f"{b}.proj", y, "proj", dim, dim)
        x = add(f"{b}.add1", x, norm(f"{b}.norm3", y) if windows else y)
        y = linear(f"{b}.fc1", norm(f"{b}.norm2", x), "fc1", (4 if variant == "rotary" else 2) * dim, dim)
        gate = f.Gate(f"{b}.act", (y, y), "silu", 2 * dim, 0, 2 * dim)
        ops.append(gate if variant == "rotary" else f.Activation(f"{b}.act", (y,), act))
        x = add(f"{b}.add2", x, linear(f"{b}.fc2", f"{b}.act", "fc2", dim, 2 * dim))

    if variant == "pool":
        y = linear("kv", norm("norm_kv", x), "qkv", 2 * dim, dim)
        ops.append(f.AttentionPool("attn_pool", (y,), heads, dim // heads, (dim // heads) ** -0.5))
        tensors["attn_pool.query"] = rng.normal(0, 1, (heads, 2, dim // heads))
        x = linear("pool_proj", "attn_pool", "proj", dim, dim)
    output = _ending(variant, x, ops, norm, linear, dim)
    return f.ImportedModel(
        source=f"tiny:{variant}",
        ops=tuple(ops),
        outputs=(output,),
        input=f.InputSpec(2, 12, 12, (0.4, 0.5), (0.3, 0.25)),
        weights="random",
        has_classifier=variant != "headless",
        tensors={k: v if v.dtype == np.int32 else v.astype(np.float32) for k, v in tensors.items()},
    )


def _heads(variant, qkv, ops, tensors, heads, head_dim, rng) -> str:
    """What changes q and k before the attention; every block turns them by the same angles."""
    name = f"{qkv}.changed"
    if variant == "cosine":
        ops.append(f.UnitHeads(name, (qkv,), heads, head_dim, 1e-12))
        tensors[f"{name}.scale"] = rng.uniform(3, 20, heads)
    elif variant == "rotary":
        ops.append(f.Rotary(name, (qkv,), heads, head_dim))
        angles = np.random.default_rng(5).uniform(-3, 3, (9, head_dim // 2)).repeat(2, 1)
        tensors[f"{name}.cos"], tensors[f"{name}.sin"] = np.cos(angles), np.sin(angles) * np.resize([-1, 1], head_dim)
        tensors[f"{name}.partner"] = (np.arange(head_dim) ^ 1).astype(np.int32)
    return name if variant in ("cosine", "rotary") else qkv


def _ending(variant, x, ops, norm, linear, dim) -> str:
    if variant in ("norm_then_mean", "windows", "cosine", "rotary"):
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
