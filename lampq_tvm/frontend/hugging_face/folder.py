"""What a model folder holds: its configuration, and the files that its weights lie in. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.files import read_json

CONFIG = "config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")  # the second one where there is no first
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")


class Config(pydantic.BaseModel):
    """`config.json`, as far as it is read here; transformers reads the rest."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    model_type: str | None = None
    architectures: list[str] | None = None
    auto_map: dict[str, Any] | None = None
    quantization_config: dict[str, Any] | None = None
    image_size: int | list[int] | None = None
    num_channels: int | None = None
    vision_config: dict[str, Any] | None = None
    # of timm's own folders
    architecture: str | None = None
    num_classes: int | None = None
    pretrained_cfg: dict[str, Any] | None = None
    model_args: dict[str, Any] | None = None


class _Index(pydantic.BaseModel):
    weight_map: dict[str, str]


@dataclass(frozen=True)
class Folder:
    """A model folder.

    Attributes:
        weights: the files that hold tensors; files: all that are read, these among them.
    """

    path: Path
    config: Config
    weights: tuple[Path, ...]
    files: tuple[Path, ...]

    @property
    def preprocessing(self) -> Path | None:
        """What says how images are prepared."""
        return next((path for path in self.files if path.name in PREPROCESSING), None)


def is_folder(model: str) -> bool:
    """Whether MODEL names a folder; a timm name is taken for one where it has a configuration."""
    path = Path(model)
    return path.is_dir() and ("/" in model or model in (".", "..") or (path / CONFIG).exists())


def open_folder(model: str) -> Folder:
    """Look at a model folder.

    Raises:
        UsageError: it is none, or its weights are missing or pickled.
        UnsupportedError: it is quantized, or needs more than the folder.
    """
    path = Path(model)
    if not (path / CONFIG).is_file():
        hint = "give a folder as the Hugging Face hub holds them, a .pt2, an .onnx or a timm name"
        raise UsageError(f"the folder has no {CONFIG}", where=model, hint=hint)
    config = read_json(path / CONFIG, Config, "the model's configuration", broken=UsageError, hint="copy the folder again")
    if config.quantization_config is not None:
        method = config.quantization_config.get("quant_method", "some method")
        raise UnsupportedError(f"a model quantized by {method} is not taken", where=model, hint="give the float model's folder")
    if _fetches(config.model_dump()):
        what = "its backbone's weights would be fetched from elsewhere (use_pretrained_backbone)"
        raise UnsupportedError(what, where=model, hint="save the whole model, and set it to false")
    weights = _weights(path)
    preprocessing = next((path / name for name in PREPROCESSING if (path / name).is_file()), None)
    index = [path / INDEX] if len(weights) > 1 or weights[0].name != WEIGHTS else []
    return Folder(path, config, weights, (path / CONFIG, *([preprocessing] if preprocessing else []), *index, *weights))


def _fetches(config: Any) -> bool:
    """Whether a configuration, or one inside of it, asks for weights that are not in the folder."""
    if isinstance(config, dict):
        return config.get("use_pretrained_backbone") is True or any(map(_fetches, config.values()))
    return isinstance(config, list) and any(map(_fetches, config))


def _weights(path: Path) -> tuple[Path, ...]:
    if (path / WEIGHTS).is_file():
        return (path / WEIGHTS,)
    if not (path / INDEX).is_file():
        pickled = next((name for name in PICKLES if (path / name).exists()), None)
        what = f"its weights are in {pickled}, which loading may run code of" if pickled else "it holds no weights"
        raise UsageError(what, where=str(path), hint=f"save it as safetensors ({WEIGHTS})")
    found = read_json(path / INDEX, _Index, "the index of the weights", broken=UsageError, hint="copy the folder again")
    names = sorted(set(found.weight_map.values()))
    for name in names:
        if Path(name).name != name or Path(name).suffix != ".safetensors":
            raise UsageError(f"its index names {name!r}, which is no safetensors file of the folder", where=str(path / INDEX))
        if not (path / name).is_file():
            raise UsageError(f"{name} is missing", where=str(path), hint="copy the folder again, all of its files")
    if not names:
        raise UsageError("its index names no file", where=str(path / INDEX), hint="copy the folder again")
    return tuple(path / name for name in names)
