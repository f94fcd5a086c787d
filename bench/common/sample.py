"""The Fashion-MNIST model and sample that ship with the benches."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.device.provision import provision_fashion_mnist

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "bench" / "data" / "fashion_mnist_sample"
CHECKPOINT = ROOT / "bench" / "checkpoints" / "fashion_mnist_vit.safetensors"
MODEL = "vit_tiny_patch16_224"
SHIPPED = 2000  # test images
MEAN, STD = 0.5, 0.5  # timm's for this model

Call = Callable[[np.ndarray], np.ndarray]  # uint8 [B, 1, 28, 28] to logits [B, 10]


def model_options() -> dict[str, Any]:
    """Options of the pipeline for the shipped Fashion-MNIST model; its checkpoint knows the model's arguments."""
    return {"checkpoint": CHECKPOINT, "data": SAMPLE / "calib512.npz"}


def test_sample(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [count, 1, 28, 28] uint8 and labels [count] of the test images: of those that are shipped, or of all."""
    if count > SHIPPED:
        folder = provision_fashion_mnist()
        return read_idx(folder / "t10k-images-idx3-ubyte.gz")[:count, None], read_idx(folder / "t10k-labels-idx1-ubyte.gz")[
            :count
        ]
    with np.load(SAMPLE / "test2000.npz") as sample:
        return sample["images"][:count, None], sample["labels"][:count]


def read_idx(path: Path) -> np.ndarray:
    """Array of an idx-ubyte .gz file (header: two zero bytes, type, rank, big-endian sizes)."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def model_args(checkpoint: Path) -> dict[str, Any]:
    """Arguments of the timm model, from the checkpoint's metadata."""
    with checkpoint.open("rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        return json.loads(json.loads(f.read(size))["__metadata__"]["model_args"])


def float_model(threads: int) -> tuple[Call, int]:
    """timm's model in float32 by torch, and its number of parameters."""
    import timm
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    model = timm.create_model(MODEL, **model_args(CHECKPOINT)).eval()
    model.load_state_dict(load_file(CHECKPOINT))

    def call(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model((torch.tensor(pixels).float() / 255 - MEAN) / STD).numpy()

    return call, sum(p.numel() for p in model.parameters())
