"""Builds the vision model of a folder with transformers; code that the folder names is never run."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.files import reason
from lampq_tvm.frontend.hugging_face.folder import Folder
from lampq_tvm.quiet import quiet

INSTALL = "pip install 'lampq-tvm[hf]'"
TOWERS = {  # of models of images and texts, the half that sees images
    "AltCLIPModel": "AltCLIPVisionModel",
    "ChineseCLIPModel": "ChineseCLIPVisionModel",
    "CLIPModel": "CLIPVisionModelWithProjection",
    "OwlViTForObjectDetection": "OwlViTVisionModel",
    "OwlViTModel": "OwlViTVisionModel",
    "Owlv2ForObjectDetection": "Owlv2VisionModel",
    "Owlv2Model": "Owlv2VisionModel",
    "Siglip2Model": "Siglip2VisionModel",
    "SiglipModel": "SiglipVisionModel",
}
ANSWERS = ("logits", "image_embeds", "predicted_depth")  # of a model that gives one of these, all that it is for
FEATURES = ("last_hidden_state", "pooler_output", "feature_maps")


class VisionModel(nn.Module):
    """A model of transformers that takes an image batch and gives tensors.

    Args:
        resized: whether positions are interpolated to the image's size.
    """

    def __init__(self, model: nn.Module, *, resized: bool) -> None:
        super().__init__()
        self.model = model
        self.options = {"interpolate_pos_encoding": True} if resized else {}

    def forward(self, image: Tensor) -> Any:
        """[B, C, H, W] to the model's answer, or to its features where it has none."""
        found = self.model(pixel_values=image, return_dict=True, **self.options)
        given = {name: value for name, value in found.items() if value is not None}
        answer = next((given[name] for name in ANSWERS if name in given), None)
        if answer is not None:
            return answer
        features = [each for name in FEATURES if name in given for each in _tensors(given[name])]
        return features[0] if len(features) == 1 else tuple(features)


def _tensors(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def build_model(folder: Folder, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[int, int] | None]:
    """(the model of a folder with its weights, the size of its images).

    Args:
        size: of images, (height, width); that of the model's configuration where None.

    Raises:
        UsageError: transformers is not there, or the folder is broken. UnsupportedError: transformers has no such model.
    """
    model = _load(folder)
    own = model.config.to_dict().get("image_size")
    configured = (own, own) if isinstance(own, int) else tuple(own) if own else None
    size = size or configured
    takes = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    return VisionModel(model, resized=takes and configured is not None and size != configured), size


def _load(folder: Folder) -> Any:
    kind = _class(folder)
    try:
        with quiet(), _no_bars():
            model, found = kind.from_pretrained(
                folder.path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as e:  # transformers, safetensors and the model raise different kinds
        raise UsageError(f"transformers cannot load it ({reason(e)})", where=str(folder.path), hint="copy it again") from e
    lacking = sorted([*found["missing_keys"], *(str(row[0]) for row in found["mismatched_keys"])])
    if lacking:
        what = f"{len(lacking)} of the tensors of {kind.__name__} are not in its weights, {lacking[0]} first"
        raise UsageError(what, where=str(folder.path), hint="check `architectures` of config.json")
    return model.eval()


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """transformers shows no progress of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _class(folder: Folder) -> Any:
    """transformers' class for a folder."""
    config, where = folder.config, str(folder.path)
    try:
        with quiet():
            import transformers
    except ImportError as e:
        raise UsageError("folders of the Hugging Face hub need transformers", where=where, hint=INSTALL) from e
    name = (config.architectures or [""])[0]
    found = getattr(transformers, TOWERS.get(name, name), None) if name else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        code = "; code that a folder brings is never run" if config.auto_map else ""
        what = f"transformers {transformers.__version__} has no model {name or 'of this configuration'}{code}"
        raise UnsupportedError(what, where=where, hint="export it with torch.export, or to ONNX, and give the file")
    if found.main_input_name != "pixel_values":
        what = f"{name} does not take images alone"
        raise UnsupportedError(what, where=where, hint="save its vision model by itself, or export that")
    return found
