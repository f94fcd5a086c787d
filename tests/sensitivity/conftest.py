"""A two-block Vision Transformer by hand, its calibration, and images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.network.model import (
    Activation,
    Attention,
    ImportedModel,
    InputSpec,
    LayerNorm,
    Linear,
    PatchEmbed,
    Residual,
    TakeToken,
)
from lampq_tvm.store import Units

D, HEADS, PATCH, SIDE, CLASSES, BLOCKS = 16, 2, 4, 16, 5, 2
TOKENS = 1 + (SIDE // PATCH) ** 2


def build_model(seed=0, classifier=True):
    rng = np.random.default_rng(seed)
    tensors, ops = {}, []

    def linear(name, kind, n, k, source):
        tensors[f"{name}.weight"] = rng.normal(0, 1.5 / np.sqrt(k), (n, k)).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0, 0.1, n).astype(np.float32)
        ops.append(Linear(name, (source,), kind))
        return name

    def norm(name, source):
        tensors[f"{name}.gamma"] = rng.uniform(0.5, 1.5, D).astype(np.float32)
        tensors[f"{name}.beta"] = rng.normal(0, 0.1, D).astype(np.float32)
        ops.append(LayerNorm(name, (source,), 1e-6))
        return name

    def residual(name, stream, branch):
        tensors[f"{name}.scale"] = np.ones(D, np.float32)
        ops.append(Residual(name, (stream, branch)))
        return name

    k = 3 * PATCH**2
    tensors["patch_embed.weight"] = rng.normal(0, 1 / np.sqrt(k), (D, 3, PATCH, PATCH)).astype(np.float32)
    tensors["patch_embed.bias"] = rng.normal(0, 0.1, D).astype(np.float32)
    tensors["patch_embed.pos"] = rng.normal(0, 0.1, (TOKENS - 1, D)).astype(np.float32)
    tensors["patch_embed.prefix"] = rng.normal(0, 0.5, (1, D)).astype(np.float32)
    ops.append(PatchEmbed("patch_embed", ("image",), PATCH, 1))
    stream = "patch_embed"
    for b in range(BLOCKS):
        at = f"blocks.{b}"
        qkv = linear(f"{at}.qkv", "qkv", 3 * D, D, norm(f"{at}.norm1", stream))
        ops.append(Attention(f"{at}.attn", (qkv,), HEADS, D // HEADS, (D // HEADS) ** -0.5))
        stream = residual(f"{at}.add1", stream, linear(f"{at}.proj", "proj", D, D, f"{at}.attn"))
        fc1 = linear(f"{at}.fc1", "fc1", 4 * D, D, norm(f"{at}.norm2", stream))
        ops.append(Activation(f"{at}.act", (fc1,), "gelu"))
        stream = residual(f"{at}.add2", stream, linear(f"{at}.fc2", "fc2", D, 4 * D, f"{at}.act"))
    ops.append(TakeToken("token", (norm("norm", stream),), 0))
    output = linear("head", "head", CLASSES, D, "token") if classifier else "token"
    spec = InputSpec(3, SIDE, SIDE, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    return ImportedModel("hand", tuple(ops), (output,), spec, "trained", classifier, tensors)


def build_images(model, count, seed):
    """Images, and as labels what the model itself says, a fifth of them wrong."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, SIDE, SIDE)).astype(np.uint8)
    labels = run_float(model, normalize(images, model.input)).argmax(1).numpy()
    labels[: count // 5] = rng.integers(0, CLASSES, count // 5)
    return images, labels


@pytest.fixture(scope="session")
def model():
    return build_model()


@pytest.fixture(scope="session")
def calibrated(model, tmp_path_factory):
    images, labels = build_images(model, 24, 1)
    return calibrate(model, [(images, labels)], units=Units(tmp_path_factory.mktemp("fit")))


@pytest.fixture(scope="session")
def headless(tmp_path_factory):
    model = build_model(classifier=False)
    images, _ = build_images(build_model(), 24, 1)
    return calibrate(model, [(images, None)], units=Units(tmp_path_factory.mktemp("fit")))


@pytest.fixture(scope="session")
def batches(model):
    images, labels = build_images(model, 40, 2)
    return lambda: iter([(images[:24], labels[:24]), (images[24:], labels[24:])])


@pytest.fixture
def unlabelled(batches):
    """The same images without labels that mean something, in three ways."""
    rng = np.random.default_rng(0)
    return {
        "none": lambda: ((x, None) for x, _ in batches()),
        "random": lambda: ((x, rng.permutation(y)) for x, y in batches()),
        "outside": lambda: ((x, np.full(len(x), 1000)) for x, _ in batches()),
    }


@pytest.fixture
def units(tmp_path):
    return Units(tmp_path / "units")


@pytest.fixture
def with_tensors():
    return lambda model, **tensors: dataclasses.replace(model, tensors={**model.tensors, **tensors})
