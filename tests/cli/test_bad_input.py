"""What a person can get wrong: each has its exit code and its one line, before long work, and leaves nothing behind."""

import errno
import json
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lampq_tvm.api.checks import check_output
from lampq_tvm.errors import OutputError
from tests.cli.conftest import FEW, MODEL

NOBODY = 65534


@pytest.fixture
def out(tmp_path):
    """The output folder; every test here ends with it empty."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder / "x.lampq"
    assert list(folder.iterdir()) == []


@pytest.fixture
def compile(lampq, data, out, monkeypatch):
    """`lampq compile` of the tiny model; long work would fail the test."""
    for stage in ("lampq_tvm.calibrate.fit.calibrate", "lampq_tvm.sensitivity.measure.sensitivity"):
        monkeypatch.setattr(stage, lambda *a, **k: pytest.fail("long work began"))

    def call(*argv, model=MODEL, data=data, output=out):
        return lampq("compile", *model, *FEW, *(["--data", data] if data else []), "-o", output, *argv)

    return call


def test_missing_checkpoint(compile, tmp_path):
    found = compile("--checkpoint", tmp_path / "none.safetensors")
    assert found.code == 2 and "none.safetensors" in found.line


def test_truncated_checkpoint(compile, tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-40])
    found = compile("--checkpoint", path)
    assert found.code == 2 and "cut.safetensors" in found.line


@pytest.mark.parametrize(("option", "given", "right"), [("--mean", "127.5", "give 0.5 "), ("--std", "58.395", "give 0.229 ")])
def test_a_scale_of_other_pixels(compile, option, given, right):
    found = compile(option, given)
    assert found.code == 2 and option in found.line and right in found.line


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def save_pickle(value, path):
    path.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize("save", [torch.save, save_pickle])
def test_a_pickle_with_code_is_not_run(compile, tmp_path, save):
    save({"weight": Bomb(tmp_path / "ran")}, tmp_path / "evil.pth")
    found = compile("--checkpoint", tmp_path / "evil.pth")
    assert found.code == 2 and "evil.pth" in found.line and not (tmp_path / "ran").exists()


def test_a_pt2_needs_trust(compile, tmp_path):
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), path)
    found = compile(model=[str(path), "--mean", "0.5", "--std", "0.5"])
    assert found.code == 2 and "--trust-model" in found.line


@pytest.mark.parametrize("name", ["m.pt2", "m.onnx"])
def test_missing_and_broken_model_files(compile, tmp_path, name):
    arguments = ["--mean", "0.5", "--std", "0.5", "--trust-model"]
    found = compile(model=[str(tmp_path / name), *arguments])
    assert found.code == 2 and name in found.line
    (tmp_path / name).write_bytes(b"not a model")
    found = compile(model=[str(tmp_path / name), *arguments])
    assert found.code == 2 and name in found.line


def test_unknown_model(compile):
    found = compile(model=["vit_tinny_patch16_224"])
    assert found.code == 3 and "vit_tiny_patch16_224" in found.line


def test_a_network_without_attention(compile):
    assert compile("--strict-integer", model=["resnet18"]).code == 3


def test_an_unknown_board_offers_near_names(compile):
    found = compile("--target", "raspbery-pi-5")
    assert found.code == 3 and "raspberry-pi-5" in found.line


def test_a_gpu_without_a_matrix_unit(compile):
    found = compile("--target", "jetson-nano")
    assert found.code == 3 and "jetson-nano:cpu" in found.line


def test_an_infeasible_budget_names_the_nearest(compile):
    found = compile("--budget", "1bit")
    assert found.code == 4 and "2bit" in found.line
    found = compile("--budget", "4bit", "--budget", "10B")
    assert found.code == 4


def test_a_time_budget_without_times(compile):
    found = compile("--budget", "2ms")
    assert found.code == 5 and "--device" in found.line


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}'])
def test_a_broken_latency_table(compile, tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    assert compile("--latency-table", tmp_path / "t.json").code == 7
    assert compile("--latency-table", tmp_path / "none.json").code == 2


def test_a_broken_image(compile, tmp_path):
    for i in range(12):
        (tmp_path / "images" / f"c{i % 4}").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"c{i % 4}" / f"{i}.png")
    broken = tmp_path / "images" / "c2" / "6.png"
    broken.write_bytes(broken.read_bytes()[:80])
    found = compile("--calib-images", "12", data=tmp_path / "images")
    assert found.code == 2 and "c2/6.png" in found.line


def trained(tmp_path):
    """A checkpoint of the tiny model: with one, labels mean something."""
    import timm

    sizes = {a.split("=")[0]: int(a.split("=")[1]) for a in MODEL if "=" in a}
    torch.manual_seed(0)
    save_file(timm.create_model(MODEL[0], **sizes).state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_labels_out_of_range(compile, tmp_path):
    np.savez(tmp_path / "l.npz", images=np.zeros((4, 16, 16), np.uint8), labels=[0, 1, 2, 4])
    found = compile("--checkpoint", trained(tmp_path), data=tmp_path / "l.npz")
    assert found.code == 2 and "label 4 is out of range" in found.line


def test_trained_weights_need_data(compile, tmp_path):
    found = compile("--checkpoint", trained(tmp_path), data=None)
    assert found.code == 2 and "--data" in found.line


def test_missing_data(compile, tmp_path):
    assert compile(data=tmp_path / "none").code == 2


def test_output_that_cannot_be_written(compile, tmp_path, out):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x.lampq", tmp_path, "/proc/x.lampq"):
        assert compile(output=path).code == 8


def test_read_only_folder():
    locked, user = Path(tempfile.mkdtemp()), os.geteuid()
    locked.chmod(0o555)
    try:
        if user == 0:  # root writes everywhere
            os.seteuid(NOBODY)
        with pytest.raises(OutputError):
            check_output(locked / "x.lampq")
    finally:
        os.seteuid(user)
        locked.rmdir()


def test_a_full_disk(compile, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert compile(output="/dev/full").code == 8
    monkeypatch.setattr(os, "fsync", full)
    found = compile()
    assert found.code == 8 and "No space left" in found.line


@pytest.fixture
def plan(lampq, tmp_path):
    """A plan of the tiny model as JSON, and where to write it."""
    path = tmp_path / "plan.json"
    assert lampq("plan", *MODEL, *FEW, "--budget", "8bit", "-o", path).code == 0
    return json.loads(path.read_text()), path


def test_a_plan_of_another_model_or_no_plan(plan, compile):
    rows, path = plan
    first = rows["layers"][0]
    for change in ({"name": "nope"}, {"w_bits": 9}, {"w_bits": 1}, {"params": 3}, {"type": "fc1"}, {"extra": 1}):
        path.write_text(json.dumps({**rows, "layers": [{**first, **change}, *rows["layers"][1:]]}))
        found = compile("--plan", path)
        assert found.code == 7 and str(path) in found.line, change
    for layers in (rows["layers"][1:], [*rows["layers"], first]):
        path.write_text(json.dumps({**rows, "layers": layers}))
        assert compile("--plan", path).code == 7
    path.write_text("{")
    assert compile("--plan", path).code == 7
    path.unlink()
    assert compile("--plan", path).code == 2


def test_the_order_of_checks(compile, tmp_path):
    """arguments, model, target, files, output, budget: of two wrong things the earlier one is named."""
    wrong = [
        (["--batch", "0"], 2),
        (["--checkpoint", tmp_path / "none.safetensors"], 2),
        (["--target", "nope"], 3),
        (["--latency-table", tmp_path / "none.json"], 2),
        (["--budget", "1bit"], 4),
    ]
    words = ["--batch", "none.safetensors", "nope", "none.json", "1bit"]
    for i, (_, code) in enumerate(wrong):
        found = compile(*(x for argv, _ in wrong[i:] for x in argv))
        assert found.code == code and words[i] in found.line
    assert compile("--budget", "1bit", output="/proc/x").code == 8
