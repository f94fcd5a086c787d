"""Equal tables of tokens and angles are stored once, and read from there."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.compiler.build import payload
from lampq_tvm.frontend.load import load_model
from lampq_tvm.lower.module import lower
from lampq_tvm.lower.shared import shared_names
from lampq_tvm.quantize.build import quantize
from lampq_tvm.store import Units
from tests.quantize.tiny import tiny_calibration


def test_only_tables_that_are_equal_are_shared():
    same, other = np.arange(4, dtype=np.int32), np.arange(4, dtype=np.float32)
    tensors = {"a.index": same, "b.index": same.copy(), "c.index": same[::-1], "d.cos": other, "e.M": other, "f.M": other}
    assert shared_names(tensors) == {"b.index": "a.index"}


def test_a_layer_that_is_called_part_keeps_its_weights():
    """Only weights that are those of the low plane are stored there."""
    one, other = np.arange(4, dtype=np.int8), np.arange(4, dtype=np.int8)[::-1]
    assert shared_names({"head.part.w": one}) == {}
    assert shared_names({"head.part.w": one, "head.w": other}) == {}
    assert shared_names({"head.part.w": one, "head.w": one.copy()}) == {"head.part.w": "head.w"}


def test_both_blocks_read_one_table():
    calibration = tiny_calibration("rotary")
    qm = quantize(calibration, uniform_plan(calibration.model, 4, 4))
    stored = load(payload(qm))
    copies = shared_names(qm.tensors)
    assert sorted(k.rpartition(".")[2] for k in copies) == ["cos", "partner", "sin"]
    assert not set(copies) & set(stored) and set(copies.values()) <= set(stored)
    read = {r.get("tensor") for r in lower(qm, "vnni").recipes} | {r.get("at") for r in lower(qm, "vnni").recipes}
    built_in = {name for name in copies.values() if name.endswith(".partner")}  # kernels are made for them
    assert read - {None} <= set(stored) and set(copies.values()) - built_in <= read


def test_windows_add_little_to_a_payload(tmp_path):
    """Swin: blocks share places, four kinds of windows stand for all, token numbers are narrow; nothing else is stored."""
    sizes = {"img_size": 64, "window_size": 4, "depths": (2, 2), "num_heads": (2, 3), "embed_dim": 24}
    model = load_model("swin_tiny_patch4_window7_224", model_args=sizes)
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), np.uint8)
    qm = quantize(calibrate(model, [(noise, None)], units=Units(tmp_path), widths=(8,)), uniform_plan(model, 8, 8))
    stored = load(payload(qm))
    places = {k: v for k, v in stored.items() if k.endswith((".at", ".pattern", ".index"))}
    assert sorted(v.shape for k, v in places.items() if k.endswith(".at")) == [(1, 16, 16), (4, 16, 16)]
    assert {v.shape for k, v in stored.items() if k.endswith("attn.bias")} == {(2, 49), (2, 50), (3, 49), (3, 50)}
    assert all(v.itemsize == (2 if v.max() > 255 else 1) for k, v in places.items() if not k.endswith(".index"))
    assert all(v.itemsize == (2 if v.max() > 127 else 1) for k, v in places.items() if k.endswith(".index"))
    floats = sum(v.nbytes for v in stored.values() if v.dtype == np.float32)
    ends = (".P", ".table", "attn.bias", ".fill")
    tables = sum(v.nbytes for k, v in stored.items() if k.endswith(ends) and v.dtype != np.float32)
    weights = sum(layer.params for layer in qm.plan.layers)
    assert sum(v.nbytes for v in stored.values()) == weights + floats + tables + sum(v.nbytes for v in places.values())
