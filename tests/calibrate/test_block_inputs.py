"""Blocks run one after another from what lies on the disk: the same bits as a whole run, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lampq_tvm.calibrate.block_inputs import block_inputs
from lampq_tvm.calibrate.fake import quantized_layer
from lampq_tvm.calibrate.observe import PIECE_IMAGES
from lampq_tvm.errors import UsageError
from lampq_tvm.network.between import block_starts, live_before
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.scratch import scratch
from tests.quantize.tiny import tiny_calibration, tiny_images, tiny_model

COUNT = 2 * PIECE_IMAGES + 5  # three pieces, the last one short


def batches(images):
    return [(images[:PIECE_IMAGES], None), (images[PIECE_IMAGES:], None)]


def whole_run(model, images, **more):
    """Every value of all images, computed in the same pieces."""
    kept = {}
    for start in range(0, len(images), PIECE_IMAGES):
        pixels = normalize(images[start : start + PIECE_IMAGES], model.input)
        run_float(model, pixels, observe=lambda op, x, out: kept.setdefault(op.name, []).append(out), **more)
        kept.setdefault("image", []).append(pixels)
    return {name: torch.cat(parts) for name, parts in kept.items()}


def equal(found, whole):
    names = live_before(found.model, found.operator)
    assert found.images == COUNT and tuple(found.shapes) == names
    pieces = list(found.pieces())
    return all(torch.equal(torch.cat([piece[name] for piece in pieces]), whole[name]) for name in names)


@pytest.mark.parametrize("variant", ["token", "windows", "rotary", "pool"])
def test_block_after_block_equals_the_whole_run(variant, tmp_path):
    model, images = tiny_model(variant), tiny_images(COUNT)
    whole = whole_run(model, images)
    first, *rest = block_starts(model)
    found = block_inputs(model, batches(images), first, tmp_path / "0")
    assert equal(found, whole)
    for i, operator in enumerate([*rest, None], 1):
        found = found.advance(operator, tmp_path / str(i), jobs=1 + i % 3)
        assert equal(found, whole), operator


def test_any_place_to_any_other(tmp_path):
    """Two values are live in the middle of a block, and blocks are skipped."""
    model, images = tiny_model(), tiny_images(COUNT)
    whole = whole_run(model, images)
    for i, (start, stop) in enumerate((("blocks.0.fc1", "blocks.1.proj"), ("blocks.0.norm2", None), ("patch", "head"))):
        found = block_inputs(model, batches(images), start, tmp_path / f"{i}a")
        assert equal(found, whole) and equal(found.advance(stop, tmp_path / f"{i}b"), whole)


def test_a_block_with_a_quantized_layer(tmp_path):
    calibration = tiny_calibration()
    model, images = calibration.model, tiny_images(COUNT)
    replace = {"blocks.0.fc1": quantized_layer(calibration, "blocks.0.fc1", 3, 3)}
    found = block_inputs(model, batches(images), "blocks.0.norm2", tmp_path / "a")
    found = found.advance("blocks.1.norm1", tmp_path / "b", replace=replace)
    assert equal(found, whole_run(model, images, replace=replace)) and not equal(found, whole_run(model, images))


def test_scratch_space_holds_them_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path))
    model, images = tiny_model(), tiny_images(COUNT)
    with scratch("blocks") as room:
        found = block_inputs(model, batches(images), "norm", Path(room) / "0")
        assert equal(found.advance(None, Path(room) / "1"), whole_run(model, images))
        assert len(list(tmp_path.rglob("*.f32"))) == 2
    assert not list(tmp_path.rglob("*.f32"))


def test_no_image(tmp_path):
    with pytest.raises(UsageError):
        block_inputs(tiny_model(), [], "head", tmp_path / "a")


MEASURED = """
import resource, sys
from pathlib import Path
from lampq_tvm.calibrate.block_inputs import block_inputs
from tests.quantize.tiny import tiny_images, tiny_model
count, folder = int(sys.argv[1]), Path(sys.argv[2])
images = tiny_images(512)
batches = ((images, None) for _ in range(count // 512))
found = block_inputs(tiny_model(dim=80), batches, "blocks.0.qkv", folder / "a", jobs=1)
found = found.advance("blocks.1.qkv", folder / "b", jobs=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


def peak_bytes(count, folder):
    argv = [sys.executable, "-c", MEASURED, str(count), str(folder)]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def test_memory_does_not_grow_with_the_images(tmp_path):
    few, many = (peak_bytes(count, tmp_path / str(count)) for count in (1024, 8192))
    stored = sum(path.stat().st_size for path in (tmp_path / "8192").rglob("*.f32"))
    assert stored == 2 * 2 * 8192 * 10 * 80 * np.dtype(np.float32).itemsize
    assert many - few < stored / 10
