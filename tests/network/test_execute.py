"""run_float on a hand-made model, against torch written out."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lampq_tvm.network import execute
from lampq_tvm.network.execute import model_tensors, normalize, run_float
from lampq_tvm.network.model import (
    Activation,
    Attention,
    ImportedModel,
    InputSpec,
    LayerNorm,
    Linear,
    MeanTokens,
    PatchEmbed,
    Residual,
    TakeToken,
)

OPS = (
    PatchEmbed("patch", ("image",), 4, 1),
    LayerNorm("n1", ("patch",), 1e-6),
    Linear("qkv", ("n1",), "qkv"),
    Attention("attn", ("qkv",), 2, 4, 0.5),
    Linear("proj", ("attn",), "proj"),
    Residual("r1", ("patch", "proj")),
    Linear("fc1", ("r1",), "fc1"),
    Activation("act", ("fc1",), "gelu"),
    Linear("fc2", ("act",), "fc2"),
    Residual("r2", ("r1", "fc2")),
    TakeToken("cls", ("r2",), 0),
    Linear("head", ("cls",), "head"),
)
SHAPES = {"qkv": (24, 8), "proj": (8, 8), "fc1": (16, 8), "fc2": (8, 16), "head": (5, 8)}
SPEC = InputSpec(3, 8, 8, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


@pytest.fixture
def model() -> ImportedModel:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {f"{k}.weight": s for k, s in SHAPES.items()}
    shapes |= {f"{k}.bias": s[:1] for k, s in SHAPES.items()}
    shapes |= {"patch.weight": (8, 3, 4, 4), "patch.bias": (8,), "patch.pos": (4, 8), "patch.prefix": (1, 8)}
    shapes |= {"n1.gamma": (8,), "n1.beta": (8,), "r1.scale": (8,), "r2.scale": (8,)}
    tensors = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    return ImportedModel("hand", OPS, ("head",), SPEC, "random", True, tensors)


def images(n: int = 2) -> torch.Tensor:
    return normalize(np.random.default_rng(1).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8), SPEC)


def by_hand(t: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    tokens = F.conv2d(x, t["patch.weight"], t["patch.bias"], stride=4).reshape(len(x), 8, 4).permute(0, 2, 1)
    s = torch.cat([t["patch.prefix"].expand(len(x), 1, 8), tokens + t["patch.pos"]], 1)
    h = F.layer_norm(s, (8,), t["n1.gamma"], t["n1.beta"], 1e-6)
    q, k, v = F.linear(h, t["qkv.weight"], t["qkv.bias"]).split(8, -1)
    head_slices = (slice(0, 4), slice(4, 8))
    heads = [(q[..., i] @ k[..., i].transpose(1, 2) * 0.5).softmax(-1) @ v[..., i] for i in head_slices]
    s = s + t["r1.scale"] * F.linear(torch.cat(heads, -1), t["proj.weight"], t["proj.bias"])
    s = s + t["r2.scale"] * F.linear(F.gelu(F.linear(s, t["fc1.weight"], t["fc1.bias"])), t["fc2.weight"], t["fc2.bias"])
    return F.linear(s[:, 0], t["head.weight"], t["head.bias"])


def test_matches_torch_written_out(model: ImportedModel) -> None:
    torch.testing.assert_close(run_float(model, images()), by_hand(model_tensors(model), images()), rtol=1e-5, atol=1e-5)


def test_normalize_by_numpy() -> None:
    pixels = np.arange(3 * 64, dtype=np.uint8).reshape(1, 3, 8, 8)
    want = (pixels / 255 - np.reshape(SPEC.mean, (1, 3, 1, 1))) / np.reshape(SPEC.std, (1, 3, 1, 1))
    got = normalize(pixels, SPEC)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-6)


def test_gradients_reach_every_tensor(model: ImportedModel) -> None:
    own = {k: v.clone().requires_grad_() for k, v in model_tensors(model).items()}
    run_float(model, images(), tensors=own).square().sum().backward()
    assert all(v.grad is not None and v.grad.abs().sum() > 0 for v in own.values())


def test_observe_sees_every_operator_in_order(model: ImportedModel) -> None:
    seen: list[tuple[str, int]] = []
    run_float(model, images(), observe=lambda op, inputs, out: seen.append((op.name, len(inputs))))
    assert seen == [(op.name, len(op.inputs)) for op in OPS]


def test_replace_computes_instead(model: ImportedModel) -> None:
    got = run_float(model, images(), replace={"cls": lambda op, x: torch.zeros(2, 8)})
    assert torch.equal(got, model_tensors(model)["head.bias"].expand(2, 5))


def test_values_stop_what_comes_before(model: ImportedModel) -> None:
    kept: dict[str, torch.Tensor] = {}
    whole = run_float(model, images(), observe=lambda op, inputs, out: kept.__setitem__(op.name, out))
    ran: list[str] = []
    got = run_float(model, images(), values={"r1": kept["r1"]}, observe=lambda op, inputs, out: ran.append(op.name))
    assert torch.equal(got, whole)
    assert ran == ["fc1", "act", "fc2", "r2", "cls", "head"]
    assert torch.equal(run_float(model, images(), values={"head": whole}), whole)


def test_partial_tensors_override(model: ImportedModel) -> None:
    got = run_float(model, images(), tensors={"head.weight": torch.zeros(5, 8)})
    assert torch.equal(got, model_tensors(model)["head.bias"].expand(2, 5))


def test_conversion_is_cached_and_released(model: ImportedModel) -> None:
    assert model_tensors(model) is model_tensors(model)
    other = ImportedModel(**{**model.__dict__, "source": "other"})
    model_tensors(other)
    before = len(execute._CONVERTED)
    del other
    gc.collect()
    assert len(execute._CONVERTED) == before - 1


@pytest.mark.parametrize("start", [0, 1])
def test_mean_tokens(model: ImportedModel, start: int) -> None:
    x = torch.arange(24.0).reshape(1, 3, 8)
    want = torch.stack(list(x[0, start:])).sum(0) / (3 - start)
    assert torch.allclose(execute.run_op(MeanTokens("m", ("x",), start), (x,), {})[0], want)


def test_save_and_load_round_trip(model: ImportedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m.st")
    back = ImportedModel.load(tmp_path / "m.st")
    assert (back.ops, back.layers, back.input, back.output) == (model.ops, model.layers, model.input, model.output)
    assert torch.equal(run_float(back, images()), run_float(model, images()))
