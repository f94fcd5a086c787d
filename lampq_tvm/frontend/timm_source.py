"""Builds timm models by name, with trained or random weights."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.frontend.checkpoint import load_into, metadata_model_args
from lampq_tvm.frontend.containers import read_contents
from lampq_tvm.quiet import quiet

# Arguments of timm.create_model that say where weights come from; they are options of their own here.
RESERVED = {"pretrained", "checkpoint_path", "cache_dir", "scriptable", "exportable", "no_jit"}
RESERVED |= {"pretrained_cfg", "pretrained_cfg_overlay", "features_only"}


def build_timm(name: str, checkpoint: Path | None, pretrained: bool, model_args: dict[str, Any] | None, seed: int) -> nn.Module:
    """A timm model in evaluation mode.

    Args:
        name: with or without a pretrained tag (`vit_base_patch16_224.augreg_in1k`).
        checkpoint: weights file; pretrained: download timm's weights. With neither, weights are random from `seed`.
        model_args: keyword arguments of timm.create_model; without any, those of a safetensors checkpoint's metadata.

    Raises:
        UnsupportedError: timm has no such model. UsageError: wrong arguments, or the weights cannot be read or fetched.
    """
    base = name.split(".")[0]
    check_name(name)
    if checkpoint is not None and pretrained:
        raise UsageError("--checkpoint and --pretrained exclude each other", where=name)
    held = metadata_model_args(checkpoint) if checkpoint is not None else {}
    args = dict(model_args or held)
    wrong = sorted(RESERVED & set(args))
    if wrong:
        raise UsageError(f"{wrong[0]} cannot be given as --model-arg", where=name, hint="use --checkpoint or --pretrained")
    tensors = read_contents(checkpoint) if checkpoint is not None else {}
    module = _pretrained(name, args) if pretrained else _create(name, args, seed)
    if checkpoint is not None:
        load_into(module, tensors, checkpoint, timm.model_entrypoint(base))
    return module.float().eval()


def takes_size(name: str, args: dict[str, Any], size: tuple[int, int]) -> bool:
    """Whether timm builds a model for one image size; models of convolutions are built for any."""
    try:
        with quiet(), torch.device("meta"):
            timm.create_model(name, pretrained=False, **{**args, "img_size": size})
    except TypeError as e:
        return "img_size" not in str(e)
    except Exception:  # wrong arguments are told of when it is built
        return True
    return True


def check_name(name: str) -> None:
    """Raise UnsupportedError, with the nearest names, unless timm has this model and this pretrained tag."""
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=3, cutoff=0.5) or ["deit_tiny_patch16_224"]
        hint = f"nearest are {', '.join(near)}" if "/" not in name else "give a timm name, a .pt2 or an .onnx"
        raise UnsupportedError("timm has no model of this name", where=name, hint=hint)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise UnsupportedError(f"timm has no weights {tag!r} of {base}", where=name, hint=f"it has {', '.join(tags) or 'none'}")


def _create(name: str, args: dict[str, Any], seed: int) -> nn.Module:
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module: nn.Module = timm.create_model(name, pretrained=False, **args)
            return module
    except Exception as e:  # models check their arguments in many ways
        raise _wrong_args(name, args, e) from e


def _pretrained(name: str, args: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):
        _create(name, args, 0)  # so that wrong arguments are told apart from a failed download
    try:
        with quiet():
            module: nn.Module = timm.create_model(name, pretrained=True, **args)
            return module
    except Exception as e:  # the hub's client, the socket and timm raise different kinds
        raise not_fetched(name, e) from e


def not_fetched(name: str, e: Exception) -> UsageError:
    """The error for published weights of a model that cannot be had."""
    reason = f"{type(e).__name__}: {next(iter(str(e).strip().splitlines()), '')}".split(". ")[0][:160]
    hint = "check the network, or give the weights with --checkpoint"
    return UsageError(f"the pretrained weights cannot be fetched ({reason})", where=name, hint=hint)


def _wrong_args(name: str, args: dict[str, Any], e: Exception) -> UsageError:
    reason = next(iter(str(e).strip().splitlines()), type(e).__name__)
    given = ", ".join(f"{k}={v}" for k, v in args.items()) or "none"
    return UsageError(f"timm cannot build it with these model arguments: {reason}", where=name, hint=f"given were {given}")
