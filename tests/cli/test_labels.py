"""Labels and images on the command line: what is open is asked, what is left out is said."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import FEW, MODEL
from tests.cli.test_bad_input import trained


def folders(root, names, each=4):
    rng = np.random.default_rng(3)
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def plan(lampq, tmp_path):
    """`lampq plan` of the trained tiny model at 4 bits, which uses labels."""
    weights = trained(tmp_path)

    def call(data, *argv, budget="4bit"):
        common = [*MODEL, *FEW, "--checkpoint", weights, "--budget", budget, "--data", data]
        return lampq("plan", *common, "-o", tmp_path / "p.json", *argv)

    return call


def test_an_order_that_is_open_is_asked_for(plan, tmp_path):
    data = folders(tmp_path / "d", ["1", "2", "10", "20"])
    found = plan(data)
    assert found.code == 2 and "--class-order" in found.line and "--class-map" in found.line
    for order in ("text", "natural"):
        found = plan(data, "--class-order", order)
        assert found.code == 0 and "16 images, 4 class folders" in found.err, found.err
    assert plan(data, "--class-order", "size").code == 2


def test_8_bits_do_not_ask_for_classes(plan, tmp_path):
    for names in (["1", "2", "10", "20"], ["a", "b"]):
        found = plan(folders(tmp_path / str(len(names)), names), budget="8bit")
        assert found.code == 0 and "no labels taken" in found.err, found.err


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a", "b", "c", "d", "e"]])
def test_another_number_of_classes_needs_a_map(plan, tmp_path, names):
    data = folders(tmp_path / "d", names)
    found = plan(data)
    assert found.code == 2 and f"{len(names)} class folders for a model with 4 classes" in found.line
    (tmp_path / "map.json").write_text(json.dumps({name: i % 4 for i, name in enumerate(names)}))
    assert plan(data, "--class-map", tmp_path / "map.json").code == 0
    (tmp_path / "map.json").write_text("{")
    assert plan(data, "--class-map", tmp_path / "map.json").code == 2


def test_an_npz_has_no_class_folders(plan, data):
    found = plan(data, "--class-order", "text")
    assert found.code == 2 and "--class-order" in found.line


def test_labels_that_are_missing_are_drawn_and_that_is_said(plan, tmp_path):
    flat = folders(tmp_path / "d", ["a"], each=12) / "a"
    found = plan(flat)
    assert found.code == 0 and "no labels: sensitivity draws them" in found.err, found.err


def test_a_broken_file_is_left_out_where_that_is_asked_for(plan, tmp_path):
    data = folders(tmp_path / "d", ["a", "b", "c", "d"])
    broken = data / "b" / "2.png"
    broken.write_bytes(broken.read_bytes()[:70])
    argv = ["--calib-images", "16", "--sens-images", "16"]
    found = plan(data, *argv)
    assert found.code == 2 and "b/2.png" in found.line
    found = plan(data, *argv, "--skip-broken")
    assert found.code == 0 and found.err.count(f"left out: {broken}") == 1


def test_eval_asks_as_well(lampq, tmp_path):
    out, weights = tmp_path / "x.lampq", trained(tmp_path)
    data = folders(tmp_path / "d", ["1", "2", "10", "20"])
    assert lampq("compile", *MODEL, *FEW, "--checkpoint", weights, "--data", data, "-o", out).code == 0
    found = lampq("eval", out, "--data", data)
    assert found.code == 2 and "--class-order" in found.line
    for order, names in (("natural", ["1", "2", "10", "20"]), ("text", ["1", "10", "2", "20"])):
        found = lampq("eval", out, "--data", data, "--class-order", order, "--json")
        (tmp_path / "map.txt").write_text("\n".join(names))
        mapped = lampq("eval", out, "--data", data, "--class-map", tmp_path / "map.txt", "--json")
        assert found.code == 0 and found.out == mapped.out
    (data / "2" / "1.png").write_bytes(b"")
    found = lampq("eval", out, "--data", data, "--class-order", "text")
    assert found.code == 2 and "2/1.png" in found.line
    found = lampq("eval", out, "--data", data, "--class-order", "text", "--skip-broken", "--json")
    assert found.code == 0 and json.loads(found.out.splitlines()[-1])["n"] == 15
    shutil.rmtree(data / "20")
    found = lampq("eval", out, "--data", data, "--class-order", "text", "--skip-broken")
    assert found.code == 2 and "3 class folders for a model with 4" in found.line


@pytest.mark.parametrize("verb", ["compile", "plan", "measure", "tune", "eval"])
def test_every_verb_that_takes_data_takes_its_options(lampq, verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    found = lampq(verb, "--help")
    assert all(option in found.out for option in ("--data", "--class-order", "--class-map", "--skip-broken"))


def test_inputs_of_run_that_are_no_images(lampq, data, tmp_path):
    out = tmp_path / "x.lampq"
    assert lampq("compile", *MODEL, *FEW, "--data", data, "-o", out).code == 0
    good = np.zeros((2, 1, 16, 16), np.float32)
    np.save(tmp_path / "x.npy", good)
    whole = (tmp_path / "x.npy").read_bytes()
    run = ("run", out, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert lampq(*run).code == 0
    giant = whole.replace(b"(2, 1, 16, 16), }" + b" " * 10, b"(99999999, 1, 16, 16), }" + b" " * 3)
    assert giant != whole and len(giant) == len(whole)
    deep = b"\x93NUMPY\1\0" + (3000).to_bytes(2, "little") + b"{" + b"(" * 2999
    for content in (b"", whole[:100], whole[:-1], whole + b"x", giant, deep, b"PK\3\4" + bytes(50), b"\x80\4.", bytes(1000)):
        (tmp_path / "x.npy").write_bytes(content)
        found = lampq(*run)
        assert found.code == 2 and "x.npy" in found.line
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    assert "x.npy" in lampq(*run).line
    for bad in (good.astype(np.float64), good[0], good[:0], good * np.nan, np.zeros((1, 1, 16, 15), np.float32)):
        np.save(tmp_path / "x.npy", bad)
        assert lampq(*run).code == 2
