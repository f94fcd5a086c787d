"""Folders as the Hugging Face hub holds them, made by transformers and timm themselves."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from lampq_tvm.errors import CorruptError, LampqError, UnsupportedError, UsageError
from lampq_tvm.frontend.hugging_face.preprocessing import preparation
from lampq_tvm.frontend.load import load_model
from lampq_tvm.network.execute import run_float
from lampq_tvm.network.model import Attention

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
PATCHES = {"image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 9}
DINO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, **PATCHES}
STAGES = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}


def clip() -> hf.PreTrainedModel:
    vision, text = {**SIZES, **PATCHES, "projection_dim": 12}, {**TEXT, "projection_dim": 12}
    return hf.CLIPModel(hf.CLIPConfig(vision_config=vision, text_config=text, projection_dim=12))


def siglip() -> hf.PreTrainedModel:
    return hf.SiglipModel(hf.SiglipConfig(vision_config={**SIZES, **PATCHES}, text_config=TEXT))


def classifier(kind: str, **config: object) -> hf.PreTrainedModel:
    return getattr(hf, f"{kind}ForImageClassification")(getattr(hf, f"{kind}Config")(num_labels=5, **config))


MODELS = {
    "vit": lambda: classifier("ViT", **SIZES, **PATCHES),
    "deit": lambda: classifier("DeiT", **SIZES, **PATCHES),
    "beit": lambda: classifier("Beit", **SIZES, **PATCHES, use_relative_position_bias=True),
    "data2vec": lambda: classifier("Data2VecVision", **SIZES, **PATCHES),
    "swin": lambda: classifier("Swin", **STAGES),
    "swinv2": lambda: classifier("Swinv2", **STAGES),
    "dinov2": lambda: classifier("Dinov2", **DINO),
    "ijepa": lambda: classifier("IJepa", **SIZES, **PATCHES),
    "vit_msn": lambda: classifier("ViTMSN", **SIZES, **PATCHES),
    "features": lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**DINO)),
    "dinov3": lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**SIZES, **PATCHES)),
    "owlvit": lambda: hf.OwlViTVisionModel(hf.OwlViTVisionConfig(**SIZES, **PATCHES)),
    "clip": clip,
    "siglip": siglip,
}


def saved(folder: Path, name: str, **how: object) -> hf.PreTrainedModel:
    """A model with random weights in a folder."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.2 if parameter.ndim == 1 else 0.0, 0.3)
    model.save_pretrained(folder, **how)
    processor = hf.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5, 0.4, 0.3], image_std=[0.25] * 3)
    processor.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folders") / "vit"
    saved(folder, "vit")
    return folder


def answers(model: hf.PreTrainedModel, image: torch.Tensor) -> list[torch.Tensor]:
    """What transformers says itself."""
    if isinstance(model, hf.CLIPModel):
        return [model.visual_projection(model.vision_model(image).pooler_output)]
    found = (model.vision_model if isinstance(model, hf.SiglipModel) else model)(image)
    return [found.logits] if "logits" in found else [found.last_hidden_state, found.pooler_output]


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_as_transformers_does(name, tmp_path):
    model, image = saved(tmp_path, name), torch.randn((3, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    found = load_model(str(tmp_path))
    assert any(isinstance(op, Attention) for op in found.ops) and found.weights == "trained"
    assert (found.input.mean, found.input.std, found.input.height) == ((0.5, 0.4, 0.3), (0.25,) * 3, 32)
    with torch.no_grad():
        wanted = torch.cat([each.flatten(1) for each in answers(model, image)], 1)
    torch.testing.assert_close(run_float(found, image).flatten(1), wanted, rtol=1e-4, atol=1e-4)


def test_weights_in_several_files(vit, tmp_path):
    model = saved(tmp_path, "vit", max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    a, b = load_model(str(tmp_path)), load_model(str(vit))
    assert all(np.array_equal(a.tensors[k], b.tensors[k]) for k in b.tensors) and model.num_labels == 5


def test_another_size(vit):
    assert load_model(str(vit), size=(40, 32)).shapes["model.vit.embeddings.patch_embeddings.projection"][0] == 21


def test_a_folder_of_timm(tmp_path):
    module = timm.create_model("vit_tiny_patch16_224", depth=1, embed_dim=48, num_heads=3, num_classes=4, img_size=32).eval()
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    images = {"mean": [0.1] * 3, "std": [0.2] * 3, "input_size": [3, 32, 32], "interpolation": "bilinear", "crop_pct": 0.8}
    args = {"depth": 1, "embed_dim": 48, "num_heads": 3, "img_size": 32}
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 4, "model_args": args, "pretrained_cfg": images}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found, image = load_model(str(tmp_path)), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(run_float(found, image), module(image), rtol=1e-4, atol=1e-4)
    spec = found.input
    assert (spec.mean, spec.std, spec.interpolation, spec.crop_pct) == ((0.1,) * 3, (0.2,) * 3, "bilinear", 0.8)


@pytest.mark.parametrize(
    ("said", "mean", "std", "size", "crop"),
    [
        ({"image_mean": [0.5], "image_std": [0.25], "size": 40}, (0.5,), (0.25,), (40, 40), 1.0),
        ({"do_normalize": False, "size": {"shortest_edge": 40}}, (0.0,), (1.0,), (40, 40), 1.0),
        ({"do_normalize": False, "do_rescale": False}, (0.0,), (1 / 255,), None, 1.0),
        (
            {"image_mean": [0.5], "image_std": [0.5], "do_center_crop": True, "size": {"shortest_edge": 40}, "crop_size": 30},
            (0.5,),
            (0.5,),
            (30, 30),
            0.75,
        ),
        (
            {"image_processor": {"image_mean": [0.5], "image_std": [0.5], "rescale_factor": 1 / 127.5}},
            (0.25,),
            (0.25,),
            None,
            1.0,
        ),
    ],
)
def test_how_images_are_prepared(said, mean, std, size, crop, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = preparation(tmp_path / "preprocessor_config.json")
    assert (found.mean, found.size, found.crop_pct) == (mean, size, crop) and np.allclose(found.std, std)


def broken(vit: Path, folder: Path, **config: object) -> Path:
    """A copy of the folder with another configuration."""
    shutil.copytree(vit, folder)
    own = json.loads((vit / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**own, **config}))
    return folder


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ({"architectures": ["OwnViT"], "auto_map": {"AutoModel": "own.OwnViT"}}, UnsupportedError, "brings is never run"),
        ({"architectures": None}, UnsupportedError, "no model of this configuration"),
        ({"architectures": ["BertModel"]}, UnsupportedError, "does not take images alone"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, UnsupportedError, "quantized by bitsandbytes"),
        ({"backbone_config": {"use_pretrained_backbone": True}}, UnsupportedError, "fetched from elsewhere"),
        ({"num_hidden_layers": 3}, UsageError, "not in its weights"),
        ({"hidden_size": 48}, UsageError, "cannot load it|not in its weights"),
        ({"hidden_act": "no_such"}, UsageError, "cannot load it"),
    ],
)
def test_configurations_that_are_refused(vit, tmp_path, config, error, said):
    with pytest.raises(error, match=said):
        load_model(str(broken(vit, tmp_path / "copy", **config)))


def without(vit: Path, folder: Path, *names: str) -> Path:
    shutil.copytree(vit, folder)
    for name in names:
        (folder / name).unlink()
    return folder


def test_files_that_are_missing(vit, tmp_path):
    with pytest.raises(UsageError, match="has no config"):
        load_model(str(without(vit, tmp_path / "a", "config.json")))
    with pytest.raises(UsageError, match="holds no weights"):
        load_model(str(without(vit, tmp_path / "b", "model.safetensors")))
    with pytest.raises(UsageError, match=r"--mean and --std"):
        load_model(str(without(vit, tmp_path / "c", "preprocessor_config.json")))
    assert load_model(str(tmp_path / "c"), mean=[0.5], std=[0.5]).input.mean == (0.5,) * 3


def test_pickled_weights_are_not_read(vit, tmp_path):
    folder = without(vit, tmp_path / "copy", "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UsageError, match="which loading may run code of"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["../vit/model.safetensors", "/etc/passwd", "own.bin", "absent.safetensors"])
def test_an_index_leaves_its_folder_nowhere(vit, tmp_path, name):
    folder = without(vit, tmp_path / "copy", "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(UsageError, match=r"no safetensors file of the folder|is missing"):
        load_model(str(folder))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"architectures": 3}', b'{"architectures": ["ViTModel"]'])
def test_a_broken_configuration(vit, tmp_path, content):
    folder = without(vit, tmp_path / "copy")
    (folder / "config.json").write_bytes(content)
    with pytest.raises((UsageError, CorruptError), match=r"config"):
        load_model(str(folder))


@pytest.mark.parametrize("keep", [0, 9, 200, 4000])
def test_weights_that_are_cut_short(vit, tmp_path, keep):
    folder = without(vit, tmp_path / "copy")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(UsageError, match="cannot load it"):
        load_model(str(folder))


def test_a_tensor_that_is_missing(vit, tmp_path):
    folder = without(vit, tmp_path / "copy")
    tensors = load_file(folder / "model.safetensors")
    del tensors["classifier.bias"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"1 of the tensors of .* classifier.bias first"):
        load_model(str(folder))


def test_options_of_timm_names_are_refused(vit):
    for options in ({"pretrained": True}, {"model_args": {"depth": 1}}, {"features": "last"}):
        with pytest.raises(UsageError, match="timm"):
            load_model(str(vit), **options)


def test_without_transformers(vit, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(LampqError, match=r"need transformers.*lampq-tvm\[hf\]"):
        load_model(str(vit))
