"""Held-back images: disjoint from those used, by content, whatever they are called and however they are stored."""

import numpy as np
import pytest
from PIL import Image

from lampq_tvm.api.held_back import contents, held_back
from lampq_tvm.data import open_dataset
from lampq_tvm.data.reading import Reading
from lampq_tvm.errors import UsageError
from lampq_tvm.network.model import InputSpec

SPEC = InputSpec(1, 8, 8, (0.5,), (0.5,))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)


@pytest.fixture
def array(pixels, tmp_path):
    np.savez(tmp_path / "d.npz", images=pixels, labels=np.arange(30) % 3)
    return open_dataset(tmp_path / "d.npz", SPEC)


def test_none_is_used_and_none_comes_twice(array):
    calib, sens = array.sample(5, 7), array.sample(12, 7)
    found = held_back(array, [calib, sens], 100, 7)
    assert len(found) == 18 and len(set(contents(found))) == 18
    assert not set(contents(found)) & set(contents(sens))
    few = held_back(array, [calib, sens], 4, 7)
    assert list(contents(few)) == list(contents(found))[:4]
    assert list(contents(held_back(array, [calib], 4, 8))) != list(contents(few))


def test_copies_in_files_under_other_names_do_not_count(array, pixels, tmp_path):
    for label in range(3):
        (tmp_path / "f" / f"{label}").mkdir(parents=True)
    for i, image in enumerate(pixels):
        for copy in range(2):
            Image.fromarray(image).save(tmp_path / "f" / f"{i % 3}" / f"{copy}_{i}.png")
    folder = open_dataset(tmp_path / "f", SPEC)
    found = held_back(folder, [array.sample(10, 1)], 100, 1)
    assert len(folder) == 60 and len(found) == 20
    assert not set(contents(found)) & set(contents(array.sample(10, 1)))
    assert all(int(file.parent.name) == label for file, label in zip(found.files, found.labels, strict=True))


def test_a_broken_image_is_named_or_left_out(array, tmp_path, capsys):
    (tmp_path / "f" / "0").mkdir(parents=True)
    (tmp_path / "f" / "0" / "bad.png").write_bytes(b"no image")
    Image.new("L", (8, 8)).save(tmp_path / "f" / "0" / "good.png")
    with pytest.raises(UsageError, match=r"bad\.png"):
        held_back(open_dataset(tmp_path / "f", SPEC), [array], 3, 0)
    found = held_back(open_dataset(tmp_path / "f", SPEC, how=Reading(skip_broken=True)), [array], 3, 0)
    assert len(found) == 1 and "left out" in capsys.readouterr().err
