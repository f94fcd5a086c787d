"""Equal tables of tokens and angles are stored once, and read from there."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load

from lampq_tvm.allocate.plan import uniform_plan
from lampq_tvm.build.compiler import payload
from lampq_tvm.lower.module import lower
from lampq_tvm.lower.shared import shared_names
from lampq_tvm.quantize.build import quantize
from tests.quantize.tiny import tiny_calibration


def test_only_tables_that_are_equal_are_shared():
    same, other = np.arange(4, dtype=np.int32), np.arange(4, dtype=np.float32)
    tensors = {"a.index": same, "b.index": same.copy(), "c.index": same[::-1], "d.cos": other, "e.M": other, "f.M": other}
    assert shared_names(tensors) == {"b.index": "a.index"}


def test_both_blocks_read_one_table():
    calibration = tiny_calibration("rotary")
    qm = quantize(calibration, uniform_plan(calibration.model, 4, 4))
    stored = load(payload(qm))
    copies = shared_names(qm.tensors)
    assert sorted(k.rpartition(".")[2] for k in copies) == ["cos", "partner", "sin"]
    assert not set(copies) & set(stored) and set(copies.values()) <= set(stored)
    read = {r.get("tensor") for r in lower(qm, "vnni").recipes} | {r.get("at") for r in lower(qm, "vnni").recipes}
    assert read - {None} <= set(stored) and set(copies.values()) <= read
