"""Folders of timm's own models, whose configuration names the architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.hugging_face.folder import Config, Folder

IMAGES = ("input_size", "mean", "std", "interpolation", "crop_pct")


def timm_arguments(folder: Folder) -> tuple[str, Path, dict[str, Any], dict[str, Any]]:
    """(architecture, weights, arguments of `timm.create_model`, what the configuration says of images) of a folder.

    Raises:
        UsageError: its weights lie in several files, which timm's never do.
    """
    if len(folder.weights) != 1:
        raise UsageError("timm's weights lie in one file", where=str(folder.path), hint="save them as model.safetensors")
    config = folder.config
    return str(config.architecture), folder.weights[0], _arguments(config), _images(config)


def _arguments(config: Config) -> dict[str, Any]:
    classes = {} if config.num_classes is None else {"num_classes": config.num_classes}
    return {**classes, **(config.model_args or {})}


def _images(config: Config) -> dict[str, Any]:
    return {key: value for key, value in (config.pretrained_cfg or {}).items() if key in IMAGES}
