"""A promise about accuracy is judged on images that had no part in the plan, or refused before long work."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from lampq_tvm.allocate.paired import Paired
from lampq_tvm.api.held_back import contents
from lampq_tvm.api.judging import right
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.data import open_dataset
from tests.cli.conftest import MODEL

SIZES = {k: int(v) for k, v in (arg.split("=") for arg in MODEL if "=" in arg)}
FEW = ["--calib-images", "64", "--sens-images", "16"]


def images(count, seed):
    """Smooth grey images."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4), np.uint8)
    return np.kron(coarse, np.ones((1, 4, 4), np.uint8))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint, and data labelled by that very model: `data` of 500 images, `fresh` of 2,000 others."""
    folder = tmp_path_factory.mktemp("known")
    torch.manual_seed(0)
    model = timm.create_model(MODEL[0], **SIZES).eval()
    save_file(model.state_dict(), folder / "w.safetensors")
    for name, count, seed in (("data", 500, 0), ("fresh", 2000, 1)):
        pixels = images(count, seed)
        with torch.no_grad():
            labels = model((torch.from_numpy(pixels)[:, None].float() / 255 - 0.5) / 0.5).argmax(1).numpy()
        np.savez(folder / f"{name}.npz", images=pixels, labels=labels)
    return folder


@pytest.fixture
def argv(files, tmp_path):
    return ["plan", *MODEL, "--checkpoint", files / "w.safetensors", *FEW, "--json", "-o", tmp_path / "p.json"]


def notes(found):
    assert found.code == 0, found.err
    return json.loads(found.out.splitlines()[-1])["notes"]


def options(files, **more):
    return Options(
        model=MODEL[0], model_args=SIZES, mean=(0.5,), std=(0.5,), checkpoint=files / "w.safetensors",
        data=files / "data.npz", calib_images=64, sens_images=16, **more,
    )  # fmt: skip


def drop_on(files, plan: Path, name: str) -> Paired:
    """What a plan's integer network loses on a whole data set."""
    pipeline = Pipeline(options(files))
    data = open_dataset(files / name, pipeline.model.input)
    given = Pipeline(options(files), plan).plan
    before, after = right(pipeline, data, None, "float"), right(pipeline, data, given, "plan")
    return Paired(int((before & ~after).sum()), int((~before & after).sum()), len(data))


@pytest.mark.parametrize("points", [8.0, 20.0])
def test_the_promise_holds_on_images_that_nobody_saw(lampq, files, argv, tmp_path, points):
    found = lampq(*argv, "--data", files / "data.npz", "--max-drop", points)
    figures = notes(found)
    assert (
        figures["drop_points"] <= figures["drop_bound_points"] <= points and figures["judged_images"] >= 3 / (points / 100) - 1
    )
    assert figures["drop_points"] == 100 * (figures["losses"] - figures["gains"]) / figures["judged_images"]
    fresh = drop_on(files, tmp_path / "p.json", "fresh.npz")
    assert fresh.drop_points <= points
    assert f"lose {Paired(figures['losses'], figures['gains'], figures['judged_images'])}" in found.err


def test_more_may_be_lost_for_fewer_bytes_and_budgets_still_count(lampq, files, argv):
    common = [*argv, "--data", files / "data.npz"]
    loose, tight = notes(lampq(*common, "--max-drop", "30")), notes(lampq(*common, "--max-drop", "8"))
    assert loose["payload_bytes"] < tight["payload_bytes"]
    assert lampq(*common, "--max-drop", "30", "--budget", "10B").code == 4
    assert notes(lampq(*common, "--max-drop", "40", "--budget", "5bit"))["avg_w_bits"] <= 5


def test_the_judging_images_had_no_part_in_the_plan(files):
    for more in ({}, {"val_data": files / "fresh.npz"}, {"val_data": files / "data.npz"}):
        pipeline = Pipeline(options(files, max_drop=6.0, val_images=300, **more))
        held = list(contents(pipeline.held_back))
        assert len(held) == len(set(held)) == 300
        assert not set(held) & (set(contents(pipeline.calib_data)) | set(contents(pipeline.sens_data)))


def test_val_data_judges(lampq, files, argv):
    found = notes(
        lampq(*argv, "--data", files / "data.npz", "--max-drop", "6", "--val-data", files / "fresh.npz", "--val-images", "700")
    )
    assert found["judged_images"] == 700 and found["drop_bound_points"] <= 8


def test_same_request_same_bytes(lampq, files, argv, tmp_path):
    texts = []
    for more in ([], [], ["--no-cache"]):
        notes(lampq(*argv, "--data", files / "data.npz", "--max-drop", "20", *more))
        texts.append((tmp_path / "p.json").read_bytes())
    assert len(set(texts)) == 1


def test_a_given_plan_is_judged_too(lampq, files, argv, tmp_path):
    plan = tmp_path / "p.json"
    assert lampq(*argv, "--data", files / "data.npz", "--budget", "2bit").code == 0
    compile_ = ["compile", *argv[1:-2], "--data", files / "data.npz", "--plan", plan, "-o", tmp_path / "a.lampq"]
    found = lampq(*compile_, "--max-drop", "3", "--val-data", files / "fresh.npz")
    assert found.code == 4 and "the plan lost" in found.line and "at most" in found.line
    assert not (tmp_path / "a.lampq").exists()
    assert lampq(*argv, "--data", files / "data.npz").code == 0
    kept = Pipeline(options(files, max_drop=8.0, val_data=files / "fresh.npz"), plan).plan
    assert kept.notes["drop_bound_points"] <= 8 and kept.budgets[-1] == "max-drop 8"


def test_a_given_plan_asks_for_labels_only_where_they_judge(lampq, files, argv, tmp_path):
    plan, out = tmp_path / "p.json", tmp_path / "a.lampq"
    assert lampq(*argv, "--data", files / "data.npz").code == 0
    held = np.load(files / "data.npz")
    np.savez(tmp_path / "unlabelled.npz", images=held["images"])
    root = saved_as_folders(tmp_path / "folders", held["images"], held["labels"])
    common = ["compile", *argv[1:-2], "--plan", plan, "-o", out, "--max-drop", "8"]
    found = lampq(*common, "--data", tmp_path / "unlabelled.npz")
    assert found.code == 2 and "unlabelled.npz" in found.line and "labels" in found.line
    found = lampq(*common, "--data", root)
    assert found.code == 2 and "--class-order" in found.line
    assert lampq(*common, "--data", tmp_path / "unlabelled.npz", "--val-data", files / "fresh.npz").code == 0


def saved_as_folders(root: Path, pixels, labels) -> Path:
    """Class folders `1`, `2`, `10`, `20`, whose natural order is that of the labels."""
    folders = [root / name for name in ("1", "2", "10", "20")]
    for folder in folders:
        folder.mkdir(parents=True)
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        Image.fromarray(image).save(folders[label] / f"{i}.png")
    return root


@pytest.mark.parametrize("order", ["natural", "text"])
def test_the_order_of_classes_is_that_of_the_source_of_folders(files, tmp_path, order):
    held = np.load(files / "data.npz")
    root = saved_as_folders(tmp_path / "folders", held["images"], held["labels"])
    pipeline = Pipeline(options(files, max_drop=6.0, val_data=root, class_order=order))
    assert np.array_equal(pipeline.data.labels, held["labels"])
    assert np.array_equal(np.sort(pipeline.judging_pool.labels), np.sort(held["labels"])) == (order == "natural")


def test_plans_with_float_layers_are_judged(lampq, files, argv, tmp_path):
    floats = ["--target", "jetson-agx-orin-64gb", "--float-layers", "head", "--attention-bits", "16"]
    figures = notes(lampq(*argv, "--data", files / "data.npz", *floats, "--max-drop", "20"))
    plan = json.loads((tmp_path / "p.json").read_text())
    assert plan["layers"][-1]["w_bits"] == plan["attention_bits"] == 16 and figures["drop_bound_points"] <= 20


def test_what_can_never_be_judged_is_refused_before_long_work(lampq, files, argv, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))
    held = np.load(files / "data.npz")
    pixels, labels = held["images"], held["labels"]
    torch.manual_seed(0)
    save_file(timm.create_model(MODEL[0], **{**SIZES, "num_classes": 0}).state_dict(), tmp_path / "headless.safetensors")
    np.savez(tmp_path / "guessed.npz", images=pixels, labels=np.random.default_rng(5).integers(0, 4, len(labels)))
    np.savez(tmp_path / "unlabelled.npz", images=pixels)
    np.savez(tmp_path / "copies.npz", images=np.tile(pixels[:40], (30, 1, 1)), labels=np.tile(labels[:40], 30))
    data = files / "data.npz"
    headless = [*argv, "--data", data, "--checkpoint", tmp_path / "headless.safetensors", "--model-arg", "num_classes=0"]
    plain = [a for a in argv if a not in ("--checkpoint", files / "w.safetensors")]
    cases = [
        ([*headless, "--max-drop", "6"], 3, ["without a classifier", "--budget"]),
        ([*plain, "--data", data, "--max-drop", "6"], 2, ["weights are random", "--checkpoint"]),
        ([*argv, "--data", data, "--max-drop", "0.5"], 4, ["436 labelled images", "598", "--val-data", "0.68 points"]),
        ([*argv, "--data", data, "--max-drop", "0.5", "--val-data", data], 4, ["436 labelled images", "598"]),
        ([*argv, "--data", tmp_path / "copies.npz", "--max-drop", "6"], 4, ["labelled images are held back", "49"]),
        ([*argv, "--data", tmp_path / "guessed.npz", "--max-drop", "6"], 2, ["labels mean nothing", "chance"]),
        ([*argv, "--data", tmp_path / "unlabelled.npz", "--max-drop", "6"], 2, ["labels"]),
        ([*argv, "--data", data, "--max-drop", "6", "--val-data", tmp_path / "unlabelled.npz"], 2, ["labels"]),
        ([*argv, "--data", data, "--max-drop", "6", "--val-data", tmp_path / "none.npz"], 2, ["does not exist"]),
        ([*argv, "--data", data, "--max-drop", "6", "--val-images", "48"], 2, ["it takes 49 images", "--val-images"]),
        ([*argv, "--data", data, "--max-drop", "0"], 2, ["no number of images", "--max-drop"]),
        ([*argv, "--data", data, "--val-data", data], 2, ["--val-data", "--max-drop"]),
        ([*argv, "--data", data, "--val-images", "9"], 2, ["--val-images", "--max-drop"]),
    ]
    for line, code, words in cases:
        found = lampq(*line)
        assert found.code == code, found.err
        assert all(word in found.line for word in words), found.line
    assert not list((tmp_path / "cache").glob("stages/calibrate/*/*")) and not (tmp_path / "p.json").exists()
