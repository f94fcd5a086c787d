"""load_model with good and bad arguments and files: the right class, one line, nothing executed."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from lampq_tvm.errors import LampqError, UnsupportedError, UsageError
from lampq_tvm.frontend import checkpoint, load_model, timm_source
from lampq_tvm.frontend.source import Request, open_source

ARGS = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
NAME = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    torch.manual_seed(5)
    return timm.create_model(NAME, **ARGS).eval()


def built(path: Path, args: dict | None = None) -> torch.nn.Module:
    return timm_source.build_timm(NAME, path, False, ARGS if args is None else args, 0)


def one_line(caught: pytest.ExceptionInfo[LampqError], *words: str) -> None:
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500
    assert all(word in text for word in words), text


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_safetensors_checkpoint(module: torch.nn.Module, tmp_path: Path) -> None:
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    model = load_model(NAME, checkpoint=tmp_path / "w.safetensors", model_args=ARGS)
    assert model.weights == "trained"
    assert (model.tensors["head.weight"] == module.head.weight.detach().numpy()).all()


def test_model_args_from_safetensors_metadata(module: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(module.state_dict(), path, {"model_args": json.dumps(ARGS)})
    assert same(timm_source.build_timm(NAME, path, False, None, 0), module)
    with pytest.raises(UsageError, match=r"head.weight is \[5, 24\] where the model has \[6, 24\]"):
        built(path, {**ARGS, "num_classes": 6})
    source = open_source(Request(NAME, checkpoint=path, size=64))
    assert source.shape[2:] == (64, 64) and source.graph.parameters()["head.weight"].shape == (5, 24)
    save_file(module.state_dict(), path, {"model_args": "[1]"})
    with pytest.raises(UsageError, match="no JSON object"):
        built(path)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "epoch": 3}, lambda s: {"state_dict": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_checkpoints(module: torch.nn.Module, tmp_path: Path, wrap, prefix: str) -> None:
    torch.save(wrap({f"{prefix}{k}": v for k, v in module.state_dict().items()}), tmp_path / "w.pth")
    assert same(built(tmp_path / "w.pth"), module)


def test_positions_of_another_size_are_resampled_by_timm(module: torch.nn.Module, tmp_path: Path) -> None:
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    assert built(tmp_path / "w.safetensors", {**ARGS, "img_size": 64}).pos_embed.shape == (1, 17, 24)


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickled_code_is_blocked_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save) -> None:
    monkeypatch.chdir(tmp_path)
    save({"head.weight": Bomb()}, tmp_path / "w.pth")
    with pytest.raises(UsageError) as caught:
        built(tmp_path / "w.pth")
    one_line(caught, "w.pth", "blocked", "pickled code", "safetensors")
    assert not (tmp_path / "exploded").exists()


def test_missing_and_broken_checkpoints(module: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_model(NAME, checkpoint=tmp_path / "none.safetensors")
    one_line(caught, "none.safetensors", "does not exist")
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    archive = (tmp_path / "w.pth").read_bytes()
    cases = {"cut.safetensors": whole[:-10], "head.safetensors": whole[:5], "text.safetensors": b"hello world, hello"}
    cases |= {
        "empty.safetensors": b"",
        "cut.pth": archive[:-500],
        "half.pth": archive[:300],
        "text.pth": b"hello",
        "empty.pth": b"",
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError) as caught:
            built(tmp_path / name)
        one_line(caught, name, "not a whole")


def test_keys_that_do_not_fit(module: torch.nn.Module, tmp_path: Path) -> None:
    path, state = tmp_path / "w.safetensors", module.state_dict()
    save_file({k: v for k, v in state.items() if k != "norm.bias"}, path)
    with pytest.raises(UsageError, match=r"the checkpoint lacks norm\.bias"):
        built(path)
    save_file({**state, "extra.weight": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match=r"the model has no extra\.weight"):
        built(path)
    save_file({**state, "head.bias": torch.full((5,), float("nan"))}, path)
    with pytest.raises(UsageError, match=r"head.bias holds values that are not finite"):
        built(path)
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="holds no weights"):
        built(tmp_path / "w.pth")


def test_unknown_names() -> None:
    for name, words in (
        ("deit_tinny_patch16_224", "deit_tiny_patch16_224"),
        ("nonsense", "no model"),
        ("a/b", "give a timm name"),
    ):
        with pytest.raises(UnsupportedError) as caught:
            load_model(name)
        one_line(caught, name, words)
    with pytest.raises(UnsupportedError, match="no weights 'bad' of deit_tiny_patch16_224"):
        load_model("deit_tiny_patch16_224.bad")


@pytest.mark.parametrize(
    "args", [{"nonsense": 1}, {"depth": "many"}, {"embed_dim": 25}, {"pretrained": True}, {"checkpoint_path": "x.pth"}]
)
def test_wrong_model_args(args: dict) -> None:
    with pytest.raises(UsageError) as caught:
        load_model(NAME, model_args=args)
    one_line(caught, NAME, next(iter(args)))


def test_pretrained_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    real = timm.create_model

    def create(name: str, pretrained: bool, **args: object) -> torch.nn.Module:
        if pretrained:
            raise ConnectionError("Name or service not known\nsecond line")
        return real(name, **args)

    monkeypatch.setattr(timm_source.timm, "create_model", create)
    with pytest.raises(UsageError) as caught:
        load_model(NAME, pretrained=True)
    one_line(caught, NAME, "cannot be fetched", "Name or service not known", "--checkpoint")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("weights.pth"), "checkpoint alone"),
        (Request("model.safetensors"), "checkpoint alone"),
        (Request("hf-hub:some/model"), "checkpoint alone"),
        (Request("none.onnx"), "does not exist"),
        (Request("none.pt2", trust_model=True), "does not exist"),
        (Request(NAME, checkpoint=Path("x.pth"), pretrained=True), "exclude"),
        (Request(NAME, mean=(0.5, 0.5)), "--mean needs 3 numbers"),
        (Request(NAME, std=(0.0,)), "--std"),
        (Request(NAME, mean=(float("nan"),)), "--mean"),
        (Request(NAME, size=0), "--size"),
        (Request(NAME, size=64, model_args={"img_size": 32}), "differ"),
        (Request(NAME, model_args={**ARGS, "in_chans": 4}), "--mean needs 4 numbers"),
    ],
)
def test_wrong_arguments(request_: Request, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(request_)
    one_line(caught, words)


def test_size_mean_and_std_are_taken() -> None:
    args = {k: v for k, v in ARGS.items() if k != "img_size"}
    source = open_source(Request(NAME, model_args=args, size=(32, 64), mean=(0.1,), std=(0.2, 0.3, 0.4)))
    assert source.shape[2:] == (32, 64) == (source.input.height, source.input.width)
    assert (source.input.mean, source.input.std) == ((0.1, 0.1, 0.1), (0.2, 0.3, 0.4))


def test_the_filter_of_timm_may_fail(module: torch.nn.Module, tmp_path: Path) -> None:
    def broken(state: dict, model: torch.nn.Module) -> dict:
        raise KeyError("whatever")

    def entry() -> None: ...

    sys.modules["fake_entry"] = type(sys)("fake_entry")
    sys.modules["fake_entry"].checkpoint_filter_fn = broken
    entry.__module__ = "fake_entry"
    with pytest.raises(UsageError, match=r"lacks cls_token"):
        checkpoint.load_into(module, {"a": torch.zeros(1)}, tmp_path / "w.pth", entry)


def test_types_import_without_torch() -> None:
    code = "import sys, lampq_tvm.network.model; print([m for m in ('torch', 'timm', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    load_model(NAME, model_args=ARGS)
    assert tuple(capfd.readouterr()) == ("", "")
