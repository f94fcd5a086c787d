"""Rotations change no function, what a norm's readers see is turned, and the choice takes what rounds better."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lampq_tvm.calibrate.observe import observe
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.network.model import LayerNorm
from lampq_tvm.rewrites.hadamard import hadamard, rotation
from lampq_tvm.rewrites.rewrite import REWRITES
from lampq_tvm.rewrites.rotate import rounding_error
from lampq_tvm.rewrites.stream import residual_stream
from lampq_tvm.store import Units
from tests.quantize.tiny import VARIANTS, tiny_images, tiny_model


@pytest.fixture
def seen(tmp_path):
    def look(model):
        return observe(model, [(tiny_images(20), None)], Units(tmp_path / "seen"))

    return look


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["rotate", "rotate_chosen"])
def test_same_function(name, variant, seen):
    model = tiny_model(variant)
    kept = {k: v.copy() for k, v in model.tensors.items()}
    changed, after = REWRITES.find(name)(model, seen(model))
    assert (after is None or changed is model) and all(np.array_equal(model.tensors[k], v) for k, v in kept.items())
    x = normalize(tiny_images(20), model.input)
    exact = run_float(model, x)
    assert np.allclose(exact, run_float(changed, x), atol=2e-4 * float(exact.abs().max()))
    stream = residual_stream(model)
    if name == "rotate" and stream is not None:
        assert {op.name for op in changed.ops if isinstance(op, LayerNorm) and not op.centred} == set(stream.norms)


@pytest.mark.parametrize("size", [1, 2, 12, 20, 24, 32, 40, 64, 96, 192, 384, 768, 1024, 1280, 5, 36, 44, 100])
def test_matrices_are_orthogonal(size):
    R = rotation(size)
    assert np.allclose(R @ R.T, np.eye(size), atol=1e-12) and np.array_equal(R, rotation(size))
    found = hadamard(size)
    assert (found is None) == (size in (5, 36, 44, 100))
    if found is not None:
        assert set(np.unique(found)) <= {-1.0, 1.0} and np.array_equal(found @ found.T, size * np.eye(size))


def test_the_stream_of_merged_patches_is_left_alone(seen):
    assert residual_stream(tiny_model("windows")) is None
    assert residual_stream(tiny_model()) is not None


def test_what_rounds_better_is_taken(seen):
    """One wide channel of the norms is spread; without it there is nothing to gain."""
    model = tiny_model()
    wide = dict(model.tensors)
    for norm in (op for op in model.ops if isinstance(op, LayerNorm)):
        gamma = np.ones_like(wide[f"{norm.name}.gamma"])
        gamma[3] = 40
        wide[f"{norm.name}.gamma"] = gamma
    spread = dataclasses.replace(model, tensors=wide)
    changed, _ = REWRITES.find("rotate_chosen")(spread, seen(spread))
    assert not any(op.centred for op in changed.ops if isinstance(op, LayerNorm))


def test_the_rule_by_hand():
    """W rounds to halves of 7 steps a row, X to 15 steps over its range and zero."""
    weight, rows = np.array([[7.0, 0.4], [1.0, -14.0]]), np.array([[0.0, 15.0], [1.25, 3.0]])
    lost = 0.4**2 + 1.0  # 1.0 of steps of 2 rounds to 0
    assert np.isclose(rounding_error(weight, rows), lost + 0.25**2 / 2)


def test_a_stream_without_means_is_not_turned_again(seen):
    """An RMSNorm sees the mean: the stream stays, heads may be turned once more."""
    model = tiny_model()
    once, _ = REWRITES.find("rotate")(model, seen(model))
    assert residual_stream(once) is None
    twice, _ = REWRITES.find("rotate")(once, seen(model))
    x = normalize(tiny_images(20), model.input)
    exact = run_float(model, x)
    assert np.allclose(exact, run_float(twice, x), atol=2e-4 * float(exact.abs().max()))
