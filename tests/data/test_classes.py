"""Which class a folder is: never chosen silently where two libraries would choose otherwise."""

import json
import unicodedata

import pytest

from lampq_tvm.data import Reading, open_dataset
from lampq_tvm.data.classes import natural_key
from lampq_tvm.errors import UsageError
from tests.data.images import GREY, class_folders, first_pixels

TEN = [str(i) for i in range(1, 11)]


def labels(root, classes=None, **how):
    """Labels by folder, found through the pixels."""
    data = open_dataset(root, GREY, classes=classes, how=Reading(**how))
    return dict(zip(first_pixels(data).tolist(), data.labels.tolist(), strict=True))


def test_numbers_that_text_and_nature_order_otherwise_are_refused(tmp_path):
    root = class_folders(tmp_path / "d", TEN)
    with pytest.raises(UsageError, match=r"class 1 is '10' in the order of text, '2' in .*--class-order.*--class-map"):
        open_dataset(root, GREY, classes=10)
    assert labels(root, 10, class_order="natural") == {i: i for i in range(10)}
    assert labels(root, 10, class_order="text") == {0: 0, 9: 1, **{i: i + 1 for i in range(1, 9)}}


def test_folders_whose_order_is_one_need_no_option(tmp_path):
    root = class_folders(tmp_path / "d", [f"{i:02d}" for i in range(12)])
    assert labels(root, 12) == {i: i for i in range(12)}


def test_the_natural_order_is_timms():
    timm_key = pytest.importorskip("timm.utils.misc").natural_key
    names = ["n10", "n9", "N9a", "b", "A", "1_2", "1_10", "é2", "é10", ""]
    assert [natural_key(name) for name in names] == [timm_key(name) for name in names]


def test_the_orders_of_both_libraries_are_met(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    reader = pytest.importorskip("timm.data.readers.reader_image_folder")
    root = class_folders(tmp_path / "d", [*TEN, "b2", "b10", "B3"])
    theirs = {datasets.folder.default_loader(p).getpixel((0, 0))[0]: c for p, c in datasets.ImageFolder(root).samples}
    assert labels(root, class_order="text") == theirs
    samples, _ = reader.find_images_and_targets(str(root))
    theirs = {datasets.folder.default_loader(p).getpixel((0, 0))[0]: c for p, c in samples}
    assert labels(root, class_order="natural") == theirs


@pytest.mark.parametrize("names", [["Cat", "cat"], ["1", "01"], ["b", "A", "a"]])
def test_names_that_the_natural_order_leaves_open(tmp_path, names):
    root = class_folders(tmp_path / "d", names)
    for how in ({}, {"class_order": "natural"}):
        with pytest.raises(UsageError, match="--class-order text"):
            labels(root, **how)
    by_text = sorted(names)
    assert labels(root, class_order="text") == {i: by_text.index(name) for i, name in enumerate(names)}


def test_accents_that_are_stored_in_two_ways_leave_the_order_open(tmp_path):
    root = class_folders(tmp_path / "d", [unicodedata.normalize("NFD", name) for name in ("âne", "cheval")])
    with pytest.raises(UsageError, match="accents"):
        labels(root)
    assert labels(root, class_order="text") == {0: 0, 1: 1}


@pytest.mark.parametrize("count", [5, 11])
def test_another_number_of_folders_than_classes(tmp_path, count):
    root = class_folders(tmp_path / "d", [f"c{i:02d}" for i in range(count)])
    with pytest.raises(UsageError, match=f"{count} class folders for a model with 10 classes.*--class-map"):
        open_dataset(root, GREY, classes=10)


def test_an_empty_class_folder_counts_and_is_named(tmp_path):
    root = class_folders(tmp_path / "d", ["a", "c"])
    (root / "b").mkdir()
    assert labels(root, 3) == {0: 0, 1: 2}
    with pytest.raises(UsageError, match=r"3 class folders \(1 without images: b\)"):
        open_dataset(root, GREY, classes=2)


def test_labels_that_are_not_used_are_not_guessed(tmp_path, capfd):
    for names, classes in ((TEN, 10), (["a", "b"], 10)):
        root = class_folders(tmp_path / str(len(names)), names)
        data = open_dataset(root, GREY, classes=classes, labels_used=False)
        assert len(data) == len(names) and not data.has_labels
        assert "no labels taken" in capfd.readouterr().err


MAPS = {
    "names.txt": "zebra\ncat\r\n  dog  \n\n",
    "names.json": json.dumps(["zebra", "cat", "dog"]),
    "indices.json": json.dumps({"cat": 1, "dog": 2}),
    "bom.txt": "\ufeffzebra\ncat\ndog",
}


@pytest.mark.parametrize("name", MAPS)
def test_a_class_map_says_what_folders_are(tmp_path, name):
    (tmp_path / name).write_text(MAPS[name], "utf-8")
    root = class_folders(tmp_path / "d", ["cat", "dog"])
    assert labels(root, 3, class_map=tmp_path / name) == {0: 1, 1: 2}


BAD_MAPS = {
    "missing": (None, "cannot read the class map"),
    "another count": ("cat\ndog\n", "names 2 classes, the model has 3"),
    "twice": ("cat\ndog\ncat\n", "twice"),
    "twice in JSON": ('{"cat": 0, "cat": 1, "dog": 2}', "twice"),
    "empty line": ("cat\n\ndog\n", "empty name"),
    "not named": ("cat\nrat\nbat\n", "does not name the folder 'dog'"),
    "beyond": ('{"cat": 0, "dog": 3}', "class 3 of a model with 3"),
    "negative": ('{"cat": 0, "dog": -1}', "class -1"),
    "truth": ('{"cat": true, "dog": 1}', "neither"),
    "text": ('{"cat": "0", "dog": "1"}', "neither"),
    "broken": ('{"cat": 0', "no JSON"),
    "deep": ("[" * 100_000, "no JSON"),
    "huge": ('{"cat": 0, "dog": 1' + "0" * 30 + "}", "is said to be class"),
    "bytes": (b"\xff\xfe\x00", "not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_a_bad_class_map_gets_one_line(tmp_path, case):
    content, expected = BAD_MAPS[case]
    if content is not None:
        (tmp_path / "map").write_bytes(content if isinstance(content, bytes) else content.encode())
    root = class_folders(tmp_path / "d", ["cat", "dog"])
    for used in (True, False):
        with pytest.raises(UsageError, match=expected) as e:
            open_dataset(root, GREY, classes=3, labels_used=used, how=Reading(class_map=tmp_path / "map"))
        assert "\n" not in str(e.value) and str(tmp_path / "map") in str(e.value)


def test_an_order_and_a_map_exclude_each_other(tmp_path):
    with pytest.raises(UsageError, match="exclude each other"):
        Reading("text", tmp_path)
    with pytest.raises(UsageError, match="text or natural"):
        Reading("size")
