"""One reader behind every container: what fits is found whatever wraps it, what does not is refused by name."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from lampq_tvm.errors import UsageError
from lampq_tvm.frontend import timm_source

ARGS = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
NAME = "vit_tiny_patch16_224"
QKV = "blocks.0.attn.qkv.weight"
CONTAINERS = {"safetensors": save_file, "pth": torch.save}


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    torch.manual_seed(5)
    return timm.create_model(NAME, **ARGS).eval()


@pytest.fixture(params=CONTAINERS)
def save(request, tmp_path):
    """Writes a flat dictionary of tensors into a container, gives its path."""

    def write(tensors: dict) -> Path:
        path = tmp_path / f"w.{request.param}"
        CONTAINERS[request.param]({k: v.clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}, path)
        return path

    return write


def built(path: Path) -> dict[str, torch.Tensor]:
    return timm_source.build_timm(NAME, path, False, ARGS, 0).state_dict()


def same(path: Path, expected: dict[str, torch.Tensor]) -> bool:
    found = built(path)
    return found.keys() == expected.keys() and all(torch.equal(found[k], v) for k, v in expected.items())


def refused(path: Path, *words: str) -> None:
    with pytest.raises(UsageError) as caught:
        built(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600 and path.name in text
    assert all(word in text for word in words), text


PREFIXES = ("module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "model.", "timm_model.", "backbone.", "a.b.vit.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_in_any_container(module, save, prefix) -> None:
    state = module.state_dict()
    assert same(save({prefix + k: v for k, v in state.items()}), state)


@pytest.mark.parametrize("keys", [("state_dict",), ("model_ema",), ("net",), ("run", "weights"), ("model", "state_dict")])
@pytest.mark.parametrize("prefix", ["", "module.model."])
def test_any_wrapper_key(module, tmp_path, keys, prefix) -> None:
    state = module.state_dict()
    held: dict = {prefix + k: v for k, v in state.items()}
    for key in reversed(keys):
        held = {key: held, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "lr": 0.1}}
    torch.save(held, tmp_path / "w.pth")
    assert same(tmp_path / "w.pth", state)


def test_wrappers_inside_names(module, save) -> None:
    state = module.state_dict()
    assert same(save({k.replace("blocks.0.", "blocks.0._orig_mod."): v for k, v in state.items()}), state)


@pytest.mark.parametrize("name", ["w", "W.SAFETENSORS", "W.PTH", "w.bin", "w.safetensors", "w.pth"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_content_says_what_a_file_is(module, tmp_path, name, container) -> None:
    CONTAINERS[container](module.state_dict(), tmp_path / name)
    assert same(tmp_path / name, module.state_dict())


def test_the_form_before_zip_archives_is_read(module, tmp_path) -> None:
    torch.save({"teacher": module.state_dict()}, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    assert same(tmp_path / "old.safetensors", module.state_dict())


def test_averaged_weights_come_first_and_what_is_left_out_is_said(module, tmp_path, capsys) -> None:
    state, other = module.state_dict(), {k: torch.zeros_like(v) for k, v in module.state_dict().items()}
    torch.save({"student": other, "state_dict": other, "weights_ema": state}, tmp_path / "w.pth")
    assert same(tmp_path / "w.pth", state)
    assert "took the weights under 'weights_ema'" in capsys.readouterr().err
    dino = {**{f"backbone.{k}": v for k, v in state.items()}, "head.mlp.0.weight": torch.zeros(3)}
    torch.save({"student": {f"module.backbone.{k}": v for k, v in other.items()}, "teacher": dino}, tmp_path / "d.pth")
    assert same(tmp_path / "d.pth", state)
    assert "left out 1 tensors that are not behind 'backbone.': head.mlp.0.weight" in capsys.readouterr().err


def test_weights_that_differ_and_fit_alike_are_not_chosen_among(module, save, tmp_path, capsys) -> None:
    state, other = module.state_dict(), {k: torch.zeros_like(v) for k, v in module.state_dict().items()}
    both = {**{f"left.{k}": v for k, v in state.items()}, **{f"right.{k}": v for k, v in other.items()}}
    refused(save(both), "left.", "right.", "fit alike and differ")
    torch.save({"best": other, "model": state, "last": other}, tmp_path / "m.pth")
    assert same(tmp_path / "m.pth", state) and "took the weights under 'model'" in capsys.readouterr().err
    torch.save({"best": state, "last": state}, tmp_path / "e.pth")
    assert same(tmp_path / "e.pth", state)
    torch.save({"best": state, "last": other}, tmp_path / "d.pth")
    refused(tmp_path / "d.pth", "'best'", "'last'", "fit alike and differ")


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "int64", "bool", "complex64"])
def test_numbers_that_are_no_floats_are_refused(module, save, kind) -> None:
    state = module.state_dict()
    refused(save({**state, QKV: (state[QKV] * 100).to(getattr(torch, kind))}), f"{QKV} holds {kind} numbers", "float")
    scaled = {**state, QKV: (state[QKV] * 100).to(getattr(torch, kind)), "blocks.0.attn.qkv.weight_scale": torch.ones(1)}
    refused(save(scaled), f"{QKV} holds {kind} numbers")


def test_tensors_of_torch_that_are_not_plain_are_refused(module, tmp_path) -> None:
    state = module.state_dict()
    quantized = torch.quantize_per_tensor(state[QKV], 0.01, 0, torch.qint8)
    for tensor, word in (
        (quantized, "quantized"),
        (state[QKV].to_sparse(), "sparse"),
        (state[QKV].to("meta"), "without content"),
    ):
        torch.save({**state, QKV: tensor}, tmp_path / "w.pth")
        refused(tmp_path / "w.pth", QKV, word)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"])
def test_other_floats_become_float32_exactly(module, save, kind, capsys) -> None:
    state = {k: v.to(getattr(torch, kind)) for k, v in module.state_dict().items()}
    assert same(save(state), {k: v.float() for k, v in state.items()})
    assert ("float8 without scales" in capsys.readouterr().err) == kind.startswith("float8")


@pytest.mark.parametrize("scale", ["blocks.0.attn.qkv.weight_scale", "blocks.0.attn.qkv.weight_scale_inv", "scales"])
def test_float8_with_scales_is_refused(module, tmp_path, scale) -> None:
    state = {f"m.{k}": v.to(torch.float8_e4m3fn) for k, v in module.state_dict().items()}
    for prefix in ("", "m."):
        save_file({**state, prefix + scale: torch.ones(1)}, tmp_path / "w.safetensors")
        refused(tmp_path / "w.safetensors", "float8_e4m3fn", scale.rpartition(".")[2])


@pytest.mark.parametrize(("value", "words"), [(1e300, ("1e+300", "beyond float32")), (float("inf"), ("not finite",))])
def test_values_beyond_float32_are_refused(module, save, value, words) -> None:
    state = module.state_dict()
    refused(save({**state, "head.bias": torch.full((5,), value, dtype=torch.float64)}), "head.bias", *words)


def test_what_does_not_fit_is_named_with_what_was_found(module, save) -> None:
    state = {f"backbone.{k}": v for k, v in module.state_dict().items()}
    less = {k: v for k, v in state.items() if "norm" not in k}
    refused(save(less), "lacks blocks.0.norm1.weight, blocks.0.norm1.bias", "and 3 more", "14 tensors behind 'backbone.'")
    mae = {**state, **{f"backbone.decoder_blocks.{i}.weight": torch.zeros(2) for i in range(5)}}
    refused(save(mae), "the model has no decoder_blocks.0.weight", "and 2 more", "25 tensors")
    wide = {**state, "backbone.head.weight": torch.zeros(6, 24)}
    refused(save(wide), "head.weight is [6, 24] where the model has [5, 24]", "num_classes", "behind 'backbone.'")
    refused(save({"conv1.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}), "lacks", "2 tensors (conv1.weight, fc.bias)")


def archive(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def test_other_files_are_called_by_their_names(module, tmp_path, monkeypatch) -> None:
    state = module.state_dict()
    scripted = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(scripted, str(tmp_path / "script.bin"))
    save_file(state, tmp_path / "whole")

    def tar(buffer) -> None:
        with tarfile.open(fileobj=buffer, mode="w") as f:
            f.add(tmp_path / "whole", "storages")

    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(state, "model-00001-of-00002.safetensors")}
    cases = {
        "script.pt": ((tmp_path / "script.bin").read_bytes(), "TorchScript"),
        "plain.pkl": (pickle.dumps({k: v.numpy() for k, v in state.items()}), "plain pickle"),
        "old.tar": (archive(tar), "tar archive"),
        "w.safetensors.gz": (gzip.compress((tmp_path / "whole").read_bytes()), "gzip"),
        "model.safetensors.index.json": (json.dumps(index).encode(), "several files"),
        "lfs.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git LFS"),
        "page.pth": (b"<!DOCTYPE html><html></html>", "web page"),
        "w.npz": (archive(lambda f: np.savez(f, **{k: v.numpy() for k, v in state.items()})), "torch.save did not write"),
        "whole.pth": (archive(lambda f: torch.save(module, f)), "pickled code"),
        "one.pth": (archive(lambda f: torch.save(state[QKV], f)), "single tensor"),
        "list.pth": (archive(lambda f: torch.save([state], f)), "holds no weights"),
    }
    for name, (data, word) in cases.items():
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, word)
    (tmp_path / "folder.safetensors").mkdir()
    refused(tmp_path / "folder.safetensors", "is a folder")


def repacked(source: Path, path: Path, edit=lambda name, data: data, packed: bool = False) -> Path:
    """A copy of a torch archive with changed records."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else 0) as new:
        for record in old.infolist():
            new.writestr(record.filename, edit(record.filename, old.read(record)))
    return path


def test_lying_and_swelling_archives_are_refused(tmp_path) -> None:
    torch.save({"a": torch.zeros(4)}, tmp_path / "a.pth")
    refused(repacked(tmp_path / "a.pth", tmp_path / "packed.pth", packed=True), "compressed")

    def lie(name: str, data: bytes) -> bytes:
        """Claims 2^28 numbers where four lie."""
        if not name.endswith("data.pkl"):
            return data
        assert data.count(b"K\x04tq") == data.count(b"K\x04\x85") == 1
        return data.replace(b"K\x04tq", b"J\x00\x00\x00\x10tq").replace(b"K\x04\x85", b"J\x00\x00\x00\x10\x85")

    refused(repacked(tmp_path / "a.pth", tmp_path / "lie.pth", lie), "not a whole torch checkpoint")
    torch.save({"head.bias": torch.zeros(1).expand(1 << 40)}, tmp_path / "wide.pth")
    refused(tmp_path / "wide.pth", "head.bias is [1099511627776], larger than the file")
