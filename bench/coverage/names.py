"""timm's transformers, each in few blocks: names whose modules are of the same kinds in the same order share one structure."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import nn

from lampq_tvm.store import digest

MODULES = [
    "beit",
    "byoanet",
    "byobnet",
    "cait",
    "coat",
    "convit",
    "cpubone",
    "crossvit",
    "csatv2",
    "davit",
    "deepseek_vit",
    "deit",
    "edgenext",
    "efficientformer",
    "efficientformer_v2",
    "efficientvim",
    "efficientvit_mit",
    "efficientvit_msra",
    "eva",
    "fastvit",
    "focalnet",
    "gcvit",
    "gemma4_vit",
    "hiera",
    "hieradet_sam2",
    "iformer",
    "levit",
    "lowformer",
    "maxxvit",
    "metaformer",
    "mlp_mixer",
    "mobilenetv3",
    "mobilenetv5",
    "mobilevit",
    "mvitv2",
    "naflexvit",
    "nest",
    "nextvit",
    "pit",
    "pvt_v2",
    "qwen3_vit",
    "repvit",
    "shvit",
    "swiftformer",
    "swin_transformer",
    "swin_transformer_v2",
    "swin_transformer_v2_cr",
    "tiny_vit",
    "tnt",
    "twins",
    "visformer",
    "vision_transformer",
    "vision_transformer_hybrid",
    "vision_transformer_relpos",
    "vision_transformer_sam",
    "vitamin",
    "volo",
    "xcit",
]
CONVOLUTIONS = {"byobnet": "clip", "mobilenetv3": "hybrid"}  # modules of convolutional networks, and which of them attend
SHORT: tuple[dict[str, Any], ...] = (
    {"depth": 2},
    *({"depths": (1,) * n} for n in (5, 4, 3, 2)),
    {"depths": ((1,),) * 3},
    {"depth": (1, 1, 1)},
    {"layers": (1, 1, 1, 1)},
)


@dataclass
class Structure:
    """A network of few blocks, and the names that come to it.

    Attributes:
        module: timm's; name: the smallest of `names`; args: of `timm.create_model`.
    """

    module: str
    name: str
    args: dict[str, Any]
    parameters: int
    names: list[str] = field(default_factory=list)


def structures(modules: list[str]) -> list[Structure]:
    """Every structure of some of timm's modules, in the order of names."""
    found: dict[str, Structure] = {}
    for module, name in names(modules):
        args, network = shortened(name)
        count = sum(p.numel() for p in network.parameters())
        mine = Structure(module, name, args, count)
        known = found.setdefault(digest(module, skeleton(network)), mine)
        known.names.append(name)
        if count < known.parameters:
            known.name, known.args, known.parameters = name, args, count
    return list(found.values())


def names(modules: list[str]) -> Iterator[tuple[str, str]]:
    """(module, name) of timm's models."""
    for name in timm.list_models():
        module = timm.model_entrypoint(name).__module__.rpartition(".")[2]
        if module in modules and CONVOLUTIONS.get(module, "") in name:
            yield module, name


def shortened(name: str) -> tuple[dict[str, Any], nn.Module]:
    """Arguments that leave a model the fewest blocks, and the model without memory; none where it has no such argument."""
    whole = built(name, {})
    assert whole is not None, name
    best, least = ({}, whole), sum(p.numel() for p in whole.parameters())
    for args in SHORT:
        network = built(name, args)
        count = least if network is None else sum(p.numel() for p in network.parameters())
        if network is not None and count < least and stages(network) == stages(whole):
            best, least = (args, network), count
    return best


def built(name: str, args: dict[str, Any]) -> nn.Module | None:
    """The model on torch's device without memory; None where it does not take the arguments."""
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            network: nn.Module = timm.create_model(name, **args).eval()
            if args:
                network(torch.zeros((1, *network.pretrained_cfg["input_size"])))
            return network
    except Exception:  # models check their arguments in many ways
        return None


def stages(network: nn.Module) -> int:
    """How many stages it says that it has."""
    info = getattr(network, "feature_info", None) or []
    return len({each["num_chs"] for each in info}) if isinstance(info, list) else len(set(info.channels()))


def skeleton(network: nn.Module) -> list[Any]:
    """What tells structures apart: kinds of modules and parameters, how convolutions are cut, whether patches fit."""
    kinds = {_kind(each) for each in network.modules()}
    size = network.pretrained_cfg["input_size"][-1] if hasattr(network, "pretrained_cfg") else 0
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    rest = size % patch[0] if isinstance(patch, tuple) and isinstance(patch[0], int) else 0
    parameters = {name.rpartition(".")[2] for name, _ in network.named_parameters()}
    return [sorted(kinds), sorted(parameters), bool(rest)]


def _kind(module: nn.Module) -> str:
    words = [type(module).__name__]
    if isinstance(module, nn.Conv2d):
        side, step = module.kernel_size[0], module.stride[0]
        groups = "depthwise" if module.groups == module.in_channels > 1 else "grouped" if module.groups > 1 else ""
        words += ["patches" if side == step > 1 else f"{side}/{step}", groups]
    elif isinstance(module, nn.Linear):
        words += ["bias" if module.bias is not None else ""]
    return " ".join(words)
