"""Observation is bounded, does not depend on batching, and goes on after a kill."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.calibrate import observe as module
from lampq_tvm.calibrate.observe import observe, row_ranks
from lampq_tvm.errors import UsageError
from lampq_tvm.store import Units, load_stage
from tests.quantize.tiny import tiny_images, tiny_model


def batches(images, size):
    return [(images[i : i + size], None) for i in range(0, len(images), size)]


def test_samples_are_bounded_and_do_not_depend_on_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 50)
    model, images = tiny_model(), tiny_images(12)
    a, b = (observe(model, batches(images, n), Units(tmp_path / str(n))) for n in (3, 4))
    assert len(a.rows["blocks.0.qkv"]) == 50 and len(a.rows["head"]) == 12
    for name in a.rows:
        assert np.array_equal(a.ranks[name], b.ranks[name])
        assert np.allclose(a.rows[name], b.rows[name], atol=1e-4)
        assert np.allclose(a.low[name], b.low[name], atol=1e-4) and np.allclose(a.high[name], b.high[name], atol=1e-4)


def test_rows_lie_within_the_range(tmp_path):
    seen = observe(tiny_model(), batches(tiny_images(8), 4), Units(tmp_path))
    for name, rows in seen.rows.items():
        assert (rows >= seen.low[name]).all() and (rows <= seen.high[name]).all()
    assert seen.low["blocks.1.act"].shape == (80,) and seen.high["blocks.1.attn"].shape == (120,)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_kill_loses_the_batches_in_flight(tmp_path, monkeypatch, jobs):
    model, images = tiny_model(), tiny_images(12)
    whole = observe(model, batches(images, 4), Units(tmp_path / "a"))
    ran = []
    real = module.run_float

    def killed(*args, **kwargs):
        ran.append(1)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "run_float", killed)
    with pytest.raises(KeyboardInterrupt):
        observe(model, batches(images, 4), Units(tmp_path / "b"), jobs=jobs)
    again = observe(model, batches(images, 4), Units(tmp_path / "b"), jobs=jobs)
    assert 4 <= len(ran) <= 3 + jobs  # two batches, the killed one, and again those that were in flight
    for name, rows in whole.rows.items():
        assert np.array_equal(again.rows[name], rows) and np.array_equal(again.high[name], whole.high[name])


def test_ranks_depend_on_numbers_and_seed_alone():
    whole = row_ranks(0, 4, 9, seed=1)
    assert np.array_equal(np.concatenate([row_ranks(0, 3, 9, 1), row_ranks(3, 1, 9, 1)]), whole)
    assert len(set(whole.tolist())) == 36
    assert not np.array_equal(row_ranks(0, 4, 9, seed=2), whole)


def test_no_image(tmp_path):
    with pytest.raises(UsageError):
        observe(tiny_model(), [], Units(tmp_path))


def test_pieces_keep_only_rows_that_enter_the_sample_in_whatever_order_they_end(tmp_path, monkeypatch):
    """Files are those of one piece after the other; with a known number of images they hold the sample and no row more."""
    monkeypatch.setattr(module, "SAMPLE_ROWS", 50)
    monkeypatch.setattr(module, "PIECE_IMAGES", 2)
    model, images = tiny_model(), tiny_images(12)
    found = {}
    for jobs in (1, 2, 5):
        for count in (None, 12):
            folder = tmp_path / f"{jobs}-{count}"
            found[jobs, count] = observe(model, batches(images, 4), Units(folder), count=count, jobs=jobs)
            assert len(list(folder.iterdir())) == 6
            assert contents(folder) == contents(tmp_path / f"1-{count}")
    rows = [load_stage(path, "unit")[1]["rows/blocks.0.qkv"] for path in (tmp_path / "2-12").iterdir()]
    assert sum(len(kept) for kept in rows) == 50
    for seen in found.values():
        for name, kept in found[1, None].rows.items():
            assert np.array_equal(seen.rows[name], kept) and np.array_equal(seen.low[name], found[1, None].low[name])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
