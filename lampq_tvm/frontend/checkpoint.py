"""Loads a checkpoint's tensors into a model, or says in one line why they are not the model's."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.containers import read_metadata
from lampq_tvm.frontend.state_dict import Candidate, candidates, some
from lampq_tvm.progress import note
from lampq_tvm.quiet import quiet

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
NARROW = tuple(getattr(torch, f"float8_{kind}") for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz"))
SCALE = re.compile(r"scale(?!r)|zero_?point|amax", re.IGNORECASE)  # in the last part of the name of a quantizer's tensor
OTHER_MODEL = "is it a checkpoint of this model, with these --model-arg?"
GIVE_FLOATS = "give the float weights it was made from"


def metadata_model_args(path: Path) -> dict[str, Any]:
    """The `model_args` that a safetensors checkpoint carries in its metadata as JSON; empty where it carries none.

    Raises:
        UsageError: the file is missing or broken, or its `model_args` are no JSON object.
    """
    try:
        args = json.loads(read_metadata(path).get("model_args", "{}"))
    except (ValueError, RecursionError):
        args = None
    if not isinstance(args, dict):
        raise UsageError("its metadata model_args is no JSON object", where=str(path), hint="give --model-arg yourself")
    return args


def load_into(module: nn.Module, held: Mapping[Any, Any], path: Path, entry: Callable[..., Any]) -> None:
    """Load a checkpoint's tensors into a timm model, converted by the model's own filter where they do not fit as they are.

    Args:
        module: the model; held: tensors by name, or dictionaries of them; path: for errors; entry: timm's function that made
            the model.

    Raises:
        UsageError: a key is missing, unknown or of another shape, or a value is not a finite float32.
    """
    own = module.state_dict()
    tried = candidates(held, own)
    if not tried:
        what = f"the checkpoint holds no weights ({some(map(str, held)) or 'it is empty'})"
        raise UsageError(what, where=str(path), hint="save model.state_dict()")
    _check_extent(tried, path)
    fits = [c for c in tried if _misfit(own, c.tensors) is None] or _filtered(module, own, tried, entry)
    if not fits:
        best = tried[0]
        what, hint = _misfit(own, best.tensors) or ("", OTHER_MODEL)
        what, hint = _wrong_numbers(own, best, held) or (what, hint)
        raise UsageError(what, where=str(path), hint=f"it holds {_described(best)}; {hint}")
    chosen, *others = sorted(fits, key=lambda c: c.rank)
    problem = _wrong_numbers(own, chosen, held)
    if problem:
        raise UsageError(problem[0], where=str(path), hint=problem[1])
    _check_choice(chosen, [c for c in others if c.rank == chosen.rank and not _wrong_numbers(own, c, held)], path)
    _say(chosen, others, path)
    module.load_state_dict({name: _as_own(name, value, own[name], path) for name, value in chosen.tensors.items()})


def _filtered(
    module: nn.Module, own: Mapping[str, Tensor], tried: list[Candidate], entry: Callable[..., Any]
) -> list[Candidate]:
    """The candidates that fit once the model's own filter has renamed and resampled them."""
    convert = getattr(sys.modules[entry.__module__], "checkpoint_filter_fn", None)
    found = [_converted(module, one, convert) for one in tried] if convert is not None else []
    return [one for one in found if one is not None and _misfit(own, one.tensors) is None]


def _converted(module: nn.Module, one: Candidate, convert: Callable[..., Any]) -> Candidate | None:
    """A candidate after the model's own filter; None where the filter fails, in one of its own ways, on foreign tensors."""
    try:
        with quiet(), torch.no_grad():
            tensors = dict(convert(dict(one.tensors), module))
    except Exception:
        return None
    return replace(one, tensors=tensors) if all(isinstance(value, Tensor) for value in tensors.values()) else None


def _misfit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """What does not fit and what would help, with the names that it concerns."""
    missing = [name for name in own if name not in tensors]
    if missing:
        return f"the checkpoint lacks {some(missing)}", OTHER_MODEL
    name = next((name for name, value in own.items() if tensors[name].shape != value.shape), None)
    if name is not None:
        what = f"{name} is {list(tensors[name].shape)} where the model has {list(own[name].shape)}"
        return what, "give the model its --model-arg (num_classes=10, img_size=32, in_chans=1, ...)"
    extra = [name for name in tensors if name not in own]
    return (f"the model has no {some(extra)}", OTHER_MODEL) if extra else None


def _described(one: Candidate) -> str:
    """How many tensors a candidate has, their first names, and where they lie."""
    return f"{len(one.tensors)} tensors{one.place and ' ' + one.place} ({some(one.tensors)})"


def _check_extent(tried: list[Candidate], path: Path) -> None:
    """Refuse a tensor that repeats its stored numbers until it is larger than its whole file."""
    size = path.stat().st_size if path.exists() else sys.maxsize
    for one in tried:
        for name, value in one.tensors.items():
            if value.numel() * value.element_size() > size and not value.is_meta:
                what = f"{name} is {list(value.shape)}, larger than the file that holds it"
                raise UsageError(what, where=str(path), hint="save contiguous tensors")


def _check_choice(chosen: Candidate, rivals: list[Candidate], path: Path) -> None:
    """Refuse to choose among weights that differ and are equally likely to be meant."""
    for one in rivals:
        if not all(torch.equal(value.float(), one.tensors[name].float()) for name, value in chosen.tensors.items()):
            what = f"the weights {chosen.place} and those {one.place} fit alike and differ"
            raise UsageError(what, where=str(path), hint="save the state dictionary that is meant alone")


def _wrong_numbers(own: Mapping[str, Tensor], one: Candidate, held: Mapping[Any, Any]) -> tuple[str, str] | None:
    """A tensor whose numbers are not what the model has there, and what would help."""
    for name, value in one.tensors.items():
        if name not in own:
            continue
        kind = str(value.dtype).removeprefix("torch.")
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            how = "quantized" if value.is_quantized else "without content" if value.is_meta else "sparse"
            return f"{name} is {how}, where the model has plain numbers", GIVE_FLOATS
        if own[name].is_floating_point() and value.dtype not in (*FLOATS, *NARROW):
            return f"{name} holds {kind} numbers where the model has floats", f"is it quantized? {GIVE_FLOATS}"
        if not own[name].is_floating_point() and (value.is_floating_point() or value.is_complex()):
            return f"{name} holds {kind} numbers where the model has whole ones", OTHER_MODEL
    narrow = next((name for name, value in one.tensors.items() if value.dtype in NARROW), None)
    scale = _scale(own, one, held) if narrow is not None else None
    if scale is not None:
        kind = str(one.tensors[str(narrow)].dtype).removeprefix("torch.")
        return f"{narrow} holds {kind} numbers that {scale} scales, so they are not the weights", GIVE_FLOATS
    return None


def _scale(own: Mapping[str, Tensor], one: Candidate, held: Mapping[Any, Any]) -> str | None:
    """The name of a quantizer's scale beside the tensors, if there is any."""
    beside = [*one.tensors, *one.outside, *map(str, held)]
    return next((name for name in beside if name not in own and SCALE.search(name.rpartition(".")[2])), None)


def _as_own(name: str, value: Tensor, own: Tensor, path: Path) -> Tensor:
    """A tensor as the model keeps it; float32 holds float16, bfloat16 and float8 exactly.

    Raises:
        UsageError: a value is not finite, or beyond float32.
    """
    if not own.is_floating_point():
        info = torch.iinfo(own.dtype) if own.dtype != torch.bool else None
        if info and value.numel() and not (info.min <= int(value.min()) and int(value.max()) <= info.max):
            raise UsageError(f"{name} holds values beyond {own.dtype}", where=str(path), hint="use an intact checkpoint")
        return value.to(own.dtype)
    wide = value if value.dtype in FLOATS else value.float()  # float8 has no comparison
    if not bool(torch.isfinite(wide).all()):
        raise UsageError(f"{name} holds values that are not finite", where=str(path), hint="use an intact checkpoint")
    result = wide.to(own.dtype)
    if not bool(torch.isfinite(result).all()):
        worst = float(wide.abs().max())
        raise UsageError(f"{name} holds {worst:g}, which is beyond float32", where=str(path), hint="use an intact checkpoint")
    return result


def _say(chosen: Candidate, others: list[Candidate], path: Path) -> None:
    """Lines about what was chosen among several, left out, or read from fewer bits."""
    if others:
        note(f"{path}: took the weights {chosen.place or 'at the top'}; those {others[0].place or 'at the top'} would fit too")
    if chosen.outside:
        note(f"{path}: left out {len(chosen.outside)} tensors that are not behind {chosen.prefix!r}: {some(chosen.outside)}")
    narrow = [name for name, value in chosen.tensors.items() if value.dtype in NARROW]
    if narrow:
        note(f"{path}: {len(narrow)} tensors are float8 without scales, taken as they stand: {some(narrow)}")
