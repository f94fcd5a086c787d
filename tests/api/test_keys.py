"""A key covers every byte that is read: a changed input never gets the answer of another one."""

import contextlib
import dataclasses
import io
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from lampq_tvm.api.options import Options
from lampq_tvm.api.stages import Stages
from lampq_tvm.errors import UsageError
from lampq_tvm.recipes.find import recipe_file
from lampq_tvm.store import digest
from lampq_tvm.targets import resolve_target
from tests.recipes.files import changed

ARGS = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
NAME = "vit_tiny_patch16_224"
NORM = {"mean": (0.5,), "std": (0.25,)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))


def stages(model, **more):
    return Stages(Options(str(model), **NORM, **more))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A small ViT as ONNX."""
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    torch.manual_seed(0)
    module = timm.create_model(NAME, **ARGS).eval()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(1, 3, 32, 32),), str(path), dynamo=False, opset_version=17, verbose=False)
    return onnx.load(path)


def external(exported, path: Path, factor: float = 1.0, data: str = "weights.bin") -> Path:
    """The model, its weights times a factor, with all its tensors in a file beside it."""
    model = onnx.ModelProto()
    model.CopyFrom(exported)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array * np.float32(factor)), tensor.name))
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, str(path), save_as_external_data=True, location=data, size_threshold=0)
    return path


def test_two_files_of_equal_bytes_with_other_weights_beside_them(exported, tmp_path):
    first, second = (external(exported, tmp_path / name / "m.onnx", factor) for name, factor in (("a", 1.0), ("b", 2.0)))
    assert first.read_bytes() == second.read_bytes()
    one, two = stages(first), stages(second)
    assert one.import_folder != two.import_folder
    name = next(k for k in one.model.tensors if k.endswith("qkv.weight"))
    np.testing.assert_array_equal(two.model.tensors[name], 2 * one.model.tensors[name])
    again = external(exported, tmp_path / "c" / "m.onnx", 1.0)
    assert stages(again).import_folder == one.import_folder


def test_one_byte_of_a_file_beside_the_model(exported, tmp_path):
    path = external(exported, tmp_path / "m.onnx")
    before, data = stages(path), bytearray((tmp_path / "weights.bin").read_bytes())
    name = next(k for k in before.model.tensors if k.endswith("qkv.weight"))
    old = before.model.tensors[name]
    data[data.index(np.ascontiguousarray(old.T).tobytes())] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    after = stages(path)
    assert after.import_folder != before.import_folder
    assert (after.model.tensors[name] != old).sum() == 1
    assert after.model_digest != before.model_digest  # part of every later key


@pytest.mark.parametrize("name", ["m.ONNX", "m.Onnx"])
def test_a_file_is_found_in_whatever_case_its_suffix_is_written(exported, tmp_path, name):
    path = tmp_path / name
    seen = []
    for factor in (1.0, 2.0):
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "weights.bin").unlink()
        seen.append(stages(external(exported, path, factor)).model.tensors)
    key = next(k for k in seen[0] if k.endswith("qkv.weight"))
    np.testing.assert_array_equal(seen[1][key], 2 * seen[0][key])


def test_a_pt2_in_capitals(tmp_path):
    path, found = tmp_path / "M.PT2", []
    for seed in (0, 1):
        torch.manual_seed(seed)
        module = timm.create_model(NAME, **ARGS).eval()
        torch.export.save(torch.export.export(module, (torch.zeros(2, 3, 32, 32),)), str(tmp_path / "m.pt2"))
        (tmp_path / "m.pt2").rename(path)
        found.append(stages(path, trust_model=True).model.tensors["head.weight"])
        np.testing.assert_array_equal(found[-1], module.state_dict()["head.weight"].numpy())


def test_a_link_stands_for_what_it_points_to(exported, tmp_path):
    link = tmp_path / "link.onnx"
    folders = []
    for name, factor in (("a", 1.0), ("b", 2.0)):
        onnx.save(onnx.load(external(exported, tmp_path / name / "m.onnx", factor)), tmp_path / f"{name}.onnx")
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / f"{name}.onnx")
        folders.append(stages(link).import_folder)
    assert folders[0] != folders[1]


def refused(path, *parts):
    with pytest.raises(UsageError) as caught:
        _ = stages(path).model
    line = str(caught.value)
    assert "\n" not in line and all(part in line for part in parts), line
    assert not list(Path(os.environ["LAMPQ_CACHE"]).rglob("model.st"))


def relocated(exported, path: Path, **entries: str) -> Path:
    """The model with other words about where its first tensor lies."""
    external(exported, path)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("place", ["../weights.bin", "/etc/hostname", "a/../../weights.bin", "C:\\weights.bin", ""])
def test_external_data_outside_the_folder(exported, tmp_path, place):
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    refused(relocated(exported, tmp_path / "m" / "m.onnx", location=place), "m.onnx", "outside the model's folder")


def test_external_data_behind_a_link_that_leaves_the_folder(exported, tmp_path):
    path = external(exported, tmp_path / "m" / "m.onnx")
    shutil.move(tmp_path / "m" / "weights.bin", tmp_path / "elsewhere.bin")
    (tmp_path / "m" / "weights.bin").symlink_to(tmp_path / "elsewhere.bin")
    refused(path, "outside the model's folder")


def test_external_data_that_is_not_whole(exported, tmp_path):
    path = external(exported, tmp_path / "m.onnx")
    data = tmp_path / "weights.bin"
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    refused(path, "weights.bin", f"the file has {len(whole) // 2}")
    data.unlink()
    refused(path, "weights.bin", "does not exist")
    data.mkdir()
    refused(path, "weights.bin", "is a folder")
    refused(relocated(exported, tmp_path / "n" / "m.onnx", offset="-4"), "are not there")
    refused(relocated(exported, tmp_path / "o" / "m.onnx", length="many"), "are not there")


@pytest.mark.parametrize("name", ["m.onnx", "M.PT2"])
def test_a_folder_in_a_model_files_place(tmp_path, name):
    (tmp_path / name).mkdir()
    refused(tmp_path / name, name, "the model is a folder")


def test_a_file_that_changes_while_it_is_imported(exported, tmp_path, monkeypatch):
    """What was read may be neither the old nor the new content: nothing is kept."""
    from lampq_tvm.frontend import load

    path, right = external(exported, tmp_path / "m.onnx"), load.load_model

    def slow(*args, **more):
        found = right(*args, **more)
        data = bytearray((tmp_path / "weights.bin").read_bytes())
        data[-1] ^= 1
        (tmp_path / "weights.bin").write_bytes(data)
        return found

    monkeypatch.setattr(load, "load_model", slow)
    refused(path, "weights.bin", "changed while it was read")


def hub_cache(root: Path, module: torch.nn.Module, commit: str) -> None:
    """The weights of a timm model where the hub's client keeps them, as its newest version."""
    repository = root / "models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "snapshots" / commit).mkdir(parents=True)
    save_file(module.state_dict(), repository / "snapshots" / commit / "model.safetensors")
    (repository / "refs" / "main").write_text(commit)


def test_pretrained_weights_are_those_that_the_hubs_cache_holds(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        hub_cache(tmp_path / "hub", timm.create_model(NAME), f"{seed}" * 40)
        found.append(Stages(Options(NAME, pretrained=True)).model.tensors["head.weight"])
        torch.manual_seed(seed)
        np.testing.assert_array_equal(found[-1], timm.create_model(NAME).state_dict()["head.weight"].numpy())
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(UsageError, match="cannot be fetched"):
        _ = Stages(Options(NAME, pretrained=True)).model


def image_folder(path: Path, count: int = 8) -> Path:
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        (path / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path / f"c{i % 2}" / f"{i}.png")
    return path


def test_images_that_change_while_they_are_calibrated_on(tmp_path, monkeypatch):
    from PIL import Image

    from lampq_tvm.calibrate import fit

    data, right = image_folder(tmp_path / "data"), fit.calibrate
    options = Options(NAME, data=data, model_args=ARGS, calib_images=4)

    def slow(*args, **more):
        found = right(*args, **more)
        for file in data.rglob("*.png"):
            Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(file)
        return found

    monkeypatch.setattr(fit, "calibrate", slow)
    with pytest.raises(UsageError, match="changed while they were read"):
        _ = Stages(options).calibration
    assert not list((tmp_path / "cache").rglob("calibration.st")) and not list((tmp_path / "cache").rglob("*.unit"))


def test_one_value_of_a_recipe(tmp_path):
    """What calibration does with it is in calibration's key, the metric in sensitivity's, and a comment in neither."""
    asked = {"data": image_folder(tmp_path / "data"), "model_args": ARGS, "calib_images": 4, "sens_images": 4}

    def keys(recipe):
        stages = Stages(Options(NAME, recipe=recipe, budgets=("4bit",), **asked))
        return stages.calibration_key, stages.sensitivity_key

    before = keys("default")
    (tmp_path / "same.toml").write_text("# a comment\n" + recipe_file("default").read_text())
    assert keys(tmp_path / "same.toml") == before
    assert keys(changed(tmp_path / "a.toml", update={"patience": 2})) == before
    calibrated, measured = keys(changed(tmp_path / "b.toml", rounding={"damping": 0.021}))
    assert calibrated != before[0] and measured != before[1]
    calibrated, measured = keys(changed(tmp_path / "c.toml", metric={"name": "kl"}))
    assert calibrated == before[0] and measured != before[1]


def test_a_target_is_told_apart_by_all_of_its_file():
    target = resolve_target("raspberry-pi-5")
    other = target.board.model_copy(update={"description": "another one"})
    assert target.identity != dataclasses.replace(target, board=other).identity
    assert target.identity != dataclasses.replace(target, features=()).identity
    host = resolve_target("host")
    assert dataclasses.replace(host, cores=1).identity == dataclasses.replace(host, cores=2).identity
    assert digest(target.identity) != digest(host.identity)
