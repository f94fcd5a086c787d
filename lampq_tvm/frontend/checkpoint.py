"""Reads checkpoints without ever running code from them, and checks that they fit the model."""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.quiet import quiet

# Under these keys training scripts keep the weights; averaged ones first.
WEIGHTS_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
CONVERT = "convert it to safetensors where you trust it"


def metadata_model_args(path: Path) -> dict[str, Any]:
    """The `model_args` that a safetensors checkpoint carries in its metadata as JSON; empty where it carries none.

    Raises:
        UsageError: the file is missing or broken, or its `model_args` are no JSON object.
    """
    _check_exists(path)
    if path.suffix != ".safetensors":
        return {}
    text = _open_safetensors(path, lambda f: (f.metadata() or {}).get("model_args", "{}"))
    try:
        args = json.loads(text)
    except ValueError:
        args = None
    if not isinstance(args, dict):
        raise UsageError("its metadata model_args is no JSON object", where=str(path), hint="give --model-arg yourself")
    return args


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or a torch (`.pth`, `.pt`, `.bin`) checkpoint.

    Raises:
        UsageError: the file is missing, broken, holds no weights, or holds pickled code (which is not run).
    """
    _check_exists(path)
    if path.suffix == ".safetensors":
        whole: dict[str, Tensor] = _open_safetensors(path, lambda f: {k: f.get_tensor(k) for k in f.keys()})  # noqa: SIM118
        return whole
    held = _torch_load(path)
    for key in WEIGHTS_KEYS:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
            break
    tensors = {str(k): v for k, v in held.items() if isinstance(v, Tensor)} if isinstance(held, Mapping) else {}
    if not tensors:
        raise UsageError("the checkpoint holds no weights", where=str(path), hint="save model.state_dict()")
    return {k.removeprefix("module.").removeprefix("_orig_mod."): v for k, v in tensors.items()}


def load_into(module: nn.Module, tensors: dict[str, Tensor], path: Path, entry: Callable[..., Any]) -> None:
    """Load a checkpoint's tensors into a timm model, converted by the model's own filter where they do not fit as they are.

    Args:
        module: the model; path: for errors; entry: timm's function that made the model.

    Raises:
        UsageError: a key is missing, unknown or of another shape, or a value is not finite.
    """
    convert = getattr(sys.modules[entry.__module__], "checkpoint_filter_fn", None)
    problem = _misfit(module, tensors)
    if problem and convert is not None:
        try:
            with quiet():
                tensors = convert(dict(tensors), module)
        except Exception:  # the filter fails in its own ways on foreign checkpoints; the misfit says more
            raise UsageError(problem[0], where=str(path), hint=problem[1]) from None
        problem = _misfit(module, tensors)
    if problem:
        raise UsageError(problem[0], where=str(path), hint=problem[1])
    broken = next((k for k, v in tensors.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())), None)
    if broken:
        raise UsageError(f"{broken} holds values that are not finite", where=str(path), hint="use an intact checkpoint")
    module.load_state_dict(tensors)


def _misfit(module: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """What does not fit and what would help, for the first key that does not."""
    own = module.state_dict()
    for name, value in own.items():
        if name not in tensors:
            return f"the checkpoint lacks {name}", "is it a checkpoint of this model, with these --model-arg?"
        if tensors[name].shape != value.shape:
            what = f"{name} is {list(tensors[name].shape)} where the model has {list(value.shape)}"
            return what, "give the model its --model-arg (num_classes=10, img_size=32, in_chans=1, ...)"
    extra = next((name for name in tensors if name not in own), None)
    return (f"the model has no {extra}", "is it a checkpoint of this model, with these --model-arg?") if extra else None


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise UsageError("the checkpoint does not exist", where=str(path), hint="check the path")


def _open_safetensors(path: Path, use: Callable[[Any], Any]) -> Any:
    try:
        with safe_open(str(path), framework="pt") as f:
            return use(f)
    except (SafetensorError, OSError, ValueError, KeyError) as e:
        raise UsageError(f"not a whole safetensors file ({e})", where=str(path), hint="download or write it again") from e


def _torch_load(path: Path) -> Any:
    try:
        with quiet(), torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        text = str(e)
        if "Unsupported" in text or "GLOBAL" in text or ("weights_only" in text and "not an allowed" in text):
            raise UsageError(f"blocked: the file holds pickled code{_named(path)}", where=str(path), hint=CONVERT) from None
        raise UsageError("not a whole torch checkpoint", where=str(path), hint="download or write it again") from None
    except Exception as e:  # damaged archives raise RuntimeError, EOFError, KeyError and others
        reason = next(iter(str(e).strip().splitlines()), type(e).__name__)
        raise UsageError(f"not a whole torch checkpoint ({reason})", where=str(path), hint="download or write it again") from e


def _named(path: Path) -> str:
    """The functions that a checkpoint would import, where torch can list them without running anything."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # only zip archives can be listed
        return ""
    return f" ({', '.join(sorted(names)[:3])})" if names else ""
