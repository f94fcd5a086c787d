"""A mean and a standard deviation are those of pixels in 0..1, or refused with what would be right."""

from __future__ import annotations

import re

import pytest
import timm

from lampq_tvm.api.options import Options
from lampq_tvm.errors import UsageError
from lampq_tvm.frontend import source
from lampq_tvm.frontend.preprocessing import check_scale, input_rows
from lampq_tvm.frontend.source import Request, open_source
from lampq_tvm.network.model import InputSpec

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 2}
WRONG = [
    ({"mean": (127.5,)}, "--mean", "give 0.5 "),
    ({"std": (127.5,)}, "--std", "give 0.5 "),
    ({"mean": (123.675, 116.28, 103.53)}, "--mean", "give 0.485,0.456,0.406 "),
    ({"std": (58.395, 57.12, 57.375)}, "--std", "give 0.229,0.224,0.225 "),
    ({"mean": (0.0,), "std": (255.0,)}, "--std", "give 1 "),
    ({"mean": (-0.2,)}, "--mean", "0..1"),
    ({"mean": (300.0,)}, "--mean", "0.485,0.456,0.406"),
    ({"mean": (float("nan"),)}, "--mean", "0..1"),
    ({"std": (0.0,)}, "--std", "0.229,0.224,0.225"),
    ({"std": (1e-5,)}, "--std", "0.0039"),
    ({"std": (float("inf"),)}, "--std", "0.0039"),
]


@pytest.mark.parametrize(("given", "option", "right"), WRONG)
def test_what_cannot_be_of_pixels_in_0_to_1_is_refused(given, option, right):
    for refuse in (lambda: Options(NAME, **given), lambda: open_source(Request(NAME, model_args=ARGS, **given))):
        with pytest.raises(UsageError, match=re.escape(option)) as caught:
            refuse()
        assert right in f"{caught.value} ", caught.value


def test_a_models_own_scale_is_refused_likewise(monkeypatch):
    real = source.build_timm

    def pixels_of_255(*args):
        module = real(*args)
        module.pretrained_cfg = {**module.pretrained_cfg, "mean": (123.675, 116.28, 103.53)}
        return module

    monkeypatch.setattr(source, "build_timm", pixels_of_255)
    with pytest.raises(UsageError, match="pretrained_cfg") as caught:
        open_source(Request(NAME, model_args=ARGS))
    assert "give --mean 0.485,0.456,0.406" in str(caught.value)
    assert open_source(Request(NAME, model_args=ARGS, mean=(0.485, 0.456, 0.406))).input.mean == (0.485, 0.456, 0.406)


def test_every_published_scale_is_taken():
    found = {(tuple(cfg.mean), tuple(cfg.std)) for cfg in map(timm.get_pretrained_cfg, timm.list_pretrained()) if cfg}
    assert len(found) > 5
    for mean, std in found | {((0.0,), (1.0,)), ((0.0,), (1 / 255,)), ((0.0,), (256 / 255,))}:
        check_scale(mean, std)


def test_rows_for_a_table():
    spec = InputSpec(3, 224, 192, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.9)
    assert input_rows(spec) == {
        "size": "224x192", "channels": "3", "mean": "0.485 0.456 0.406", "std": "0.229 0.224 0.225",
        "interpolation": "bilinear", "crop-pct": "0.9",
    }  # fmt: skip
