"""Opens whatever MODEL names - a timm name, a folder, a `.pt2` or an `.onnx` - as an exported graph and the image it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.frontend.checkpoint import metadata_model_args
from lampq_tvm.frontend.export import export_module, input_shape, load_pt2
from lampq_tvm.frontend.features import Wanted, with_features
from lampq_tvm.frontend.graph import Graph
from lampq_tvm.frontend.hugging_face.folder import is_folder, open_folder
from lampq_tvm.frontend.hugging_face.preprocessing import preparation
from lampq_tvm.frontend.hugging_face.timm_folder import timm_arguments
from lampq_tvm.frontend.model_files import file_suffix, model_files
from lampq_tvm.frontend.onnx.read import import_onnx
from lampq_tvm.frontend.preprocessing import check_scale
from lampq_tvm.frontend.timm_source import build_timm, check_name, takes_size
from lampq_tvm.network.model import InputSpec

CHECKPOINTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
NOTHING: Mapping[str, Any] = MappingProxyType({})
BATCH = 2  # two images, so that a model that mixes images is noticed


@dataclass(frozen=True)
class Source:
    """An opened model.

    Attributes:
        name: `timm:NAME`, `folder:NAME` or `file:FILE`.
        graph: exported; shape: [B, C, H, W] it was exported for.
        input: the image it takes; weights: `trained` or `random`.
    """

    name: str
    graph: Graph
    shape: tuple[int, int, int, int]
    input: InputSpec
    weights: str


@dataclass(frozen=True)
class Request:
    """What the user asked for; the arguments of `load_model`."""

    model: str
    checkpoint: Path | None = None
    pretrained: bool = False
    model_args: dict[str, Any] | None = None
    trust_model: bool = False
    seed: int = 0
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    size: int | tuple[int, int] | None = None
    features: Wanted | None = None

    @property
    def height_width(self) -> tuple[int, int] | None:
        """The size as (height, width)."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def open_source(request: Request) -> Source:
    """Open a model.

    Raises:
        UsageError: an argument or a file is wrong. UnsupportedError: the model cannot be exported.
    """
    _check_numbers(request)
    kind = file_suffix(request.model)
    if kind is not None:
        return _open_file(request, kind)
    if is_folder(request.model):
        return _open_folder(request)
    if Path(request.model).suffix.lower() in CHECKPOINTS or request.model.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        hint = "give the timm name as MODEL and the weights as --checkpoint, or the model's folder, downloaded"
        raise UsageError("a checkpoint alone does not say what the network is", where=request.model, hint=hint)
    return _open_timm(request)


def _check_numbers(request: Request) -> None:
    check_scale(request.mean, request.std)
    size = request.height_width
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise UsageError("--size must be one or two positive numbers of pixels")


def _open_timm(request: Request, images: Mapping[str, Any] = NOTHING) -> Source:
    """A model of timm; `images`: what is known of its images beside timm's own configuration."""
    name, args = request.model, request.model_args
    size = request.height_width
    if size is not None:
        held = metadata_model_args(request.checkpoint) if request.checkpoint is not None else {}
        check_name(name)
        args = args or held
        args = {**args, "img_size": size} if takes_size(name, args, size) else args
        if request.model_args and request.model_args.get("img_size", request.size) not in (request.size, size, size[0]):
            raise UsageError("--size and --model-arg img_size differ", where=name)
    module = build_timm(name, request.checkpoint, request.pretrained, args, request.seed)
    cfg: dict[str, Any] = {**(getattr(module, "pretrained_cfg", None) or {}), **images}
    height, width = _image_size(module, cfg, size)
    channels = _image_channels(request, cfg)
    own = {"mean": cfg.get("mean"), "std": cfg.get("std")}
    check_scale(None if request.mean else own["mean"], None if request.std else own["std"], name)
    shape = (BATCH, channels, height, width)
    spec = InputSpec(
        channels,
        height,
        width,
        _per_channel(request.mean, own["mean"], channels, "--mean"),
        _per_channel(request.std, own["std"], channels, "--std"),
        str(cfg.get("interpolation", "bicubic")),
        float(cfg.get("crop_pct") or 1.0),
    )
    weights = "trained" if request.checkpoint is not None or request.pretrained else "random"
    if request.features is not None:
        module = with_features(module, request.features, shape, name)
    return Source(f"timm:{name}", Graph(export_module(module, shape, name), name), shape, spec, weights)


def _image_channels(request: Request, cfg: Mapping[str, Any]) -> int:
    """Those that the user asked timm for, else those of the model's own images."""
    held = {} if request.checkpoint is None or request.model_args else metadata_model_args(request.checkpoint)
    return int({**held, **(request.model_args or {})}.get("in_chans") or cfg.get("input_size", (3, 224, 224))[0])


def _image_size(module: nn.Module, cfg: dict[str, Any], size: tuple[int, int] | None) -> tuple[int, int]:
    built = getattr(getattr(module, "patch_embed", None), "img_size", None) or size or cfg.get("input_size", (3, 224, 224))[1:]
    return int(built[0]), int(built[1])


def _open_file(request: Request, suffix: str) -> Source:
    path = Path(request.model)
    if request.checkpoint is not None or request.pretrained or request.model_args or request.features is not None:
        raise UsageError("--checkpoint, --pretrained, --model-arg and --features are for timm names", where=request.model)
    model_files(request.model)
    program = load_pt2(path, request.trust_model) if suffix == ".pt2" else import_onnx(path, request.height_width)
    shape = input_shape(program, request.model)
    _, channels, height, width = shape
    if request.height_width not in (None, (height, width)):
        raise UsageError(f"the file is made for images of {height}x{width}", where=request.model, hint="leave --size out")
    if request.mean is None or request.std is None:
        what = "a model file does not say how its images are normalized"
        raise UsageError(what, where=request.model, hint="give --mean and --std, for pixels in 0..1")
    mean = _per_channel(request.mean, None, channels, "--mean")
    spec = InputSpec(channels, height, width, mean, _per_channel(request.std, None, channels, "--std"))
    return Source(f"file:{path.name}", Graph(program, request.model), shape, spec, "trained")


def _open_folder(request: Request) -> Source:
    """A folder as the Hugging Face hub holds them: a model of transformers, or one of timm."""
    folder = open_folder(request.model)
    if request.checkpoint is not None or request.pretrained or request.model_args:
        raise UsageError("--checkpoint, --pretrained and --model-arg are for timm names", where=request.model)
    name = f"folder:{folder.path.resolve().name}"
    if folder.config.architecture is not None:
        architecture, weights, args, images = timm_arguments(folder)
        named = dataclasses.replace(request, model=architecture, checkpoint=weights, model_args=args)
        return dataclasses.replace(_open_timm(named, images), name=name)
    if request.features is not None:
        raise UsageError("--features is for models of timm", where=request.model)
    from lampq_tvm.frontend.hugging_face.build import build_model

    own = preparation(folder.preprocessing)
    module, size = build_model(folder, request.height_width or own.size)
    if size is None:
        raise UsageError("the folder does not say how large its images are", where=request.model, hint="give --size")
    if (own.mean is None and request.mean is None) or (own.std is None and request.std is None):
        what = "the folder does not say how its images are normalized"
        raise UsageError(what, where=request.model, hint="give --mean and --std, for pixels in 0..1")
    check_scale(None if request.mean else own.mean, None if request.std else own.std, name)
    channels = folder.config.num_channels or (folder.config.vision_config or {}).get("num_channels") or 3
    mean, std = (
        _per_channel(given, known, channels, option)
        for given, known, option in ((request.mean, own.mean, "--mean"), (request.std, own.std, "--std"))
    )
    shape = (BATCH, int(channels), *size)
    spec = InputSpec(shape[1], *size, mean, std, own.interpolation, own.crop_pct)
    return Source(name, Graph(export_module(module, shape, name), name), shape, spec, "trained")


def _per_channel(given: Sequence[float] | None, own: Sequence[float] | None, channels: int, option: str) -> tuple[float, ...]:
    """One number per channel: the user's, else the model's own, averaged for one channel."""
    values = tuple(float(v) for v in (given if given is not None else own) or ())
    if given is None and channels == 1 and values:
        values = (sum(values) / len(values),)
    values = values * channels if len(values) == 1 else values
    if len(values) != channels:
        raise UsageError(f"{option} needs {channels} numbers, one per channel", hint=f"got {len(values)}")
    return values


def refused(source: Source, error: UnsupportedError) -> UnsupportedError:
    """The same error with the model's name in front of the place."""
    where = source.name if error.where in (None, source.graph.where) else f"{source.name}: {error.where}"
    return UnsupportedError(error.what, where=where, hint=error.hint)
