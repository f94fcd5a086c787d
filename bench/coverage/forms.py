"""The forms that models come in: small ones of transformers, torchvision and timm, as folders, programs and ONNX files.

Each maker takes a folder and gives what MODEL is then. Weights are random, blocks few.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from lampq_tvm.quiet import quiet

SIDE = 64
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
PATCHES = {"image_size": SIDE, "patch_size": 16}
DINO = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "mlp_ratio": 2, **PATCHES}
STAGES = {"image_size": SIDE, "patch_size": 4, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
PYRAMID = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]}
NECK = {"neck_hidden_sizes": [16, 16, 32, 32], "fusion_hidden_size": 16}
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99}
KINDS: dict[str, dict[str, Any]] = {  # of transformers: its class, and its configuration
    "ViTForImageClassification": {**SIZES, **PATCHES},
    "ViTModel": {**SIZES, **PATCHES},
    "DeiTForImageClassification": {**SIZES, **PATCHES},
    "DeiTForImageClassificationWithTeacher": {**SIZES, **PATCHES},
    "BeitForImageClassification": {**SIZES, **PATCHES, "use_relative_position_bias": True},
    "Data2VecVisionForImageClassification": {**SIZES, **PATCHES, "use_shared_relative_position_bias": True},
    "SwinForImageClassification": STAGES,
    "Swinv2ForImageClassification": STAGES,
    "Dinov2ForImageClassification": DINO,
    "Dinov2Model": DINO,
    "Dinov2WithRegistersModel": DINO,
    "DINOv3ViTModel": {**SIZES, **PATCHES, "num_register_tokens": 4},
    "CLIPVisionModel": {**SIZES, **PATCHES},
    "CLIPVisionModelWithProjection": {**SIZES, **PATCHES, "projection_dim": 32},
    "SiglipVisionModel": {**SIZES, **PATCHES},
    "IJepaForImageClassification": {**SIZES, **PATCHES},
    "ViTMSNForImageClassification": {**SIZES, **PATCHES},
    "OwlViTVisionModel": {**SIZES, **PATCHES},
    "YolosForObjectDetection": {**SIZES, "image_size": [SIDE, SIDE], "patch_size": 16, "num_detection_tokens": 8},
    "DPTForDepthEstimation": {**SIZES, **PATCHES, **NECK, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3]},
    "SegformerForSemanticSegmentation": {**PYRAMID, "decoder_hidden_size": 32},
    "LevitForImageClassification": {"image_size": SIDE, "hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4]},
    "MobileViTForImageClassification": {"image_size": SIDE, "hidden_sizes": [32, 48, 64]},
    "PvtV2ForImageClassification": {"image_size": SIDE, **PYRAMID},
    "HieraForImageClassification": {"image_size": [SIDE, SIDE], "embed_dim": 24, "depths": [1] * 4, "num_heads": [1, 2, 2, 4]},
    "Aimv2VisionModel": {**SIZES, **PATCHES},
}
STAGED = {"depths": (2, 2), "num_heads": (2, 4), "embed_dim": 24, "img_size": SIDE}
EXPORTED = {  # of torchvision and timm
    "torchvision vit_b_16": lambda: torchvision.models.VisionTransformer(SIDE, 16, 2, 3, 48, 96),
    "torchvision swin_t": lambda: torchvision.models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [7, 7]),
    "torchvision maxvit_t": lambda: torchvision.models.MaxVit((SIDE, SIDE), 16, 2, [16, 32], [1, 1], 16, 0.0),
    "timm dinov2": lambda: timm.create_model("vit_small_patch14_dinov2", depth=2, embed_dim=48, num_heads=3, img_size=56),
    "timm swinv2": lambda: timm.create_model(
        "swinv2_tiny_window8_256", depths=(2, 2), num_heads=(2, 4), embed_dim=24, img_size=64
    ),
    "timm beit": lambda: timm.create_model("beit_base_patch16_224", depth=2, embed_dim=48, num_heads=3, img_size=64),
    "timm eva02": lambda: timm.create_model("eva02_tiny_patch14_336", depth=2, embed_dim=48, num_heads=3, img_size=56),
    "timm mobilevit": lambda: timm.create_model("mobilevit_xxs", img_size=SIDE),
}


def of_transformers(kind: str, config: dict[str, Any] | None = None) -> nn.Module:
    """A model of transformers, with random weights."""
    import transformers

    found = getattr(transformers, kind)
    made: nn.Module = found(found.config_class(**(KINDS[kind] if config is None else config)))
    return made


def spread(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with biases and gains that are no zeros and ones."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        if parameter.ndim < 2:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return module.eval()


class First(nn.Module):
    """A model of transformers as exporters want it: an image in, a tensor out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """The first of its outputs."""
        first: Tensor = self.model(image, return_dict=False)[0]
        return first


def folder(kind: str, place: Path, config: dict[str, Any] | None = None) -> Path:
    """A folder as `save_pretrained` writes it; of the small model where no configuration is given."""
    import transformers

    with quiet():
        model: Any = spread(of_transformers(kind, config))
        model.save_pretrained(place)
        side = getattr(model.config, "image_size", None)
        size = {"height": side, "width": side} if isinstance(side, int) else {"height": SIDE, "width": SIDE}
        processor = transformers.ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.25] * 3)
        processor.save_pretrained(place)
    return place


def program(module: Callable[[], nn.Module], side: int, place: Path) -> Path:
    """A `.pt2` file."""
    with torch.no_grad():
        found = torch.export.export(spread(module()), (torch.zeros(2, 3, side, side),))
    torch.export.save(found, place / "model.pt2")
    return place / "model.pt2"


def onnx(module: Callable[[], nn.Module], side: int, place: Path) -> Path:
    """A file of today's default exporter."""
    with quiet(), torch.no_grad():
        torch.onnx.export(spread(module()), (torch.zeros(1, 3, side, side),), str(place / "model.onnx"), dynamo=True)
    return place / "model.onnx"


def forms() -> dict[tuple[str, str], Callable[[Path], Path]]:
    """Makers by model and form."""
    found: dict[tuple[str, str], Callable[[Path], Path]] = {}
    for kind in KINDS:
        made = functools.partial(_wrapped, kind)
        found[kind, "folder"] = functools.partial(folder, kind)
        found[kind, ".pt2"] = functools.partial(program, made, SIDE)
        found[kind, ".onnx"] = functools.partial(onnx, made, SIDE)
    for name, module in EXPORTED.items():
        side = 56 if name in ("timm dinov2", "timm eva02") else SIDE
        found[name, ".pt2"] = functools.partial(program, module, side)
        found[name, ".onnx"] = functools.partial(onnx, module, side)
    return found


def _wrapped(kind: str) -> nn.Module:
    return First(of_transformers(kind))
