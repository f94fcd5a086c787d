"""The frontend's door: MODEL and its options become an ImportedModel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.features import Wanted
from lampq_tvm.frontend.layers import layer_table
from lampq_tvm.frontend.prove import recognize_and_prove
from lampq_tvm.frontend.source import Request, Source, open_source, refused
from lampq_tvm.network.model import ImportedModel


def load_model(
    model: str,
    *,
    checkpoint: Path | None = None,
    pretrained: bool = False,
    model_args: dict[str, Any] | None = None,
    trust_model: bool = False,
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    strict_integer: bool = False,
    features: str | None = None,
    feature_form: str = "nchw",
) -> ImportedModel:
    """Import a Vision Transformer.

    Args:
        model: a timm name, a `.pt2` or an `.onnx`.
        checkpoint: weights of a timm model: safetensors, or torch loaded as weights only.
        pretrained: fetch timm's own weights. With neither, weights are random from `seed`.
        model_args: keyword arguments of timm.create_model; without any, a safetensors checkpoint's `model_args` metadata.
        trust_model: needed for a `.pt2`, which can hold pickled code.
        seed: of random weights.
        mean, std: per channel for pixels in 0..1, or one number for all; a timm model's own where None.
        size: image size in pixels (height and width, or both at once).
        strict_integer: whether to refuse what has no integer rule, which else becomes parts in float32.
        features, feature_form: of a timm model in place of its answer (`frontend.features.Wanted`).

    Raises:
        UsageError: an argument is wrong, or a file is missing, broken or unsafe.
        UnsupportedError: the model is unknown, or one of its operators has no rule.
    """
    given = Path(checkpoint) if checkpoint is not None else None
    wanted = None if features is None else Wanted.of(features, feature_form)
    request = Request(str(model), given, pretrained, model_args, trust_model, seed, mean, std, size, wanted)
    return import_source(open_source(request), strict_integer)


def import_source(source: Source, strict_integer: bool = False) -> ImportedModel:
    """Recognize an opened model and prove the result.

    Raises:
        UnsupportedError: an operator has no rule; with `strict_integer` also where there is no attention layer.
    """
    try:
        if strict_integer:
            layer_table(source.graph)
        found = recognize_and_prove(source.graph, source.shape, strict_integer)
    except UnsupportedError as e:
        raise refused(source, e) from e
    return ImportedModel(
        source=source.name,
        ops=found.ops,
        outputs=found.outputs,
        input=source.input,
        weights=source.weights,
        has_classifier=found.has_classifier,
        tensors={k: np.array(v.numpy()) for k, v in found.tensors.items()},
    )
