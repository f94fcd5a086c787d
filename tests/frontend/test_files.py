"""`.onnx` and `.pt2` files: exported by torch here, read back, and compared with ONNX Runtime and torch."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from onnx import TensorProto, helper

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.frontend.doctor import doctor
from lampq_tvm.frontend.load import load_model
from lampq_tvm.network.execute import run_float

NORM = {"mean": [0.5], "std": [0.25]}
ARGS = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
BLOCK = ["qkv", "proj", "fc1", "fc2"]
NAMES = [f"blocks.0.{n}" for n in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]


def randomized(name: str, **more: object) -> torch.nn.Module:
    """A small model none of whose parameters is zero or one."""
    torch.manual_seed(0)
    module = timm.create_model(name, **{**ARGS, **more}).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def export_onnx(module: torch.nn.Module, path: Path, dynamo: bool, opset: int, **options: object) -> np.ndarray:
    """Write the file; return an image to compare on."""
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (image,), str(path), dynamo=dynamo, opset_version=opset, verbose=False, **options)
    return image.numpy()


def onnxruntime_output(path: Path, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


CASES = [
    ("vit_tiny_patch16_224", {}, False, 17),
    ("vit_tiny_patch16_224", {}, False, 14),
    ("vit_tiny_patch16_224", {}, True, 20),
    ("vit_tiny_patch16_224", {"act_layer": "gelu_tanh"}, False, 17),
    ("vit_tiny_patch16_224", {"qkv_bias": False, "global_pool": "avg"}, True, 20),
    ("deit_tiny_distilled_patch16_224", {}, False, 17),
    ("deit3_small_patch16_224", {}, True, 23),
    ("vit_medium_patch16_reg4_gap_256", {}, False, 17),
]


@pytest.mark.parametrize(("name", "args", "dynamo", "opset"), CASES)
def test_onnx_round_trip(tmp_path: Path, name: str, args: dict, dynamo: bool, opset: int) -> None:
    path = tmp_path / "model.onnx"
    image = export_onnx(randomized(name, **args), path, dynamo, opset)
    model = load_model(str(path), **NORM)
    wanted = onnxruntime_output(path, image)
    np.testing.assert_allclose(run_float(model, torch.from_numpy(image)).numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert (model.source, model.weights, model.input.mean) == ("file:model.onnx", "trained", (0.5, 0.5, 0.5))
    heads = ["head", "head_dist"] if "distilled" in name else ["head"]
    assert [layer.name for layer in model.layers] == ["patch_embed.proj", *NAMES, *heads]
    assert [layer.type for layer in model.layers] == ["patch_embed", *BLOCK, *["head"] * len(heads)]


def test_onnx_with_open_batch(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    image = export_onnx(randomized("vit_tiny_patch16_224"), path, False, 17, **options)
    model = load_model(str(path), **NORM)
    both = np.concatenate([image, image[:, :, ::-1]])
    wanted = onnxruntime_output(path, both)
    np.testing.assert_allclose(run_float(model, torch.from_numpy(both)).numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_untrained_onnx_shares_tensors_but_not_names(tmp_path: Path) -> None:
    """The old exporter stores equal biases once; every layer keeps its own name."""
    torch.manual_seed(0)
    export_onnx(timm.create_model("vit_tiny_patch16_224", **ARGS).eval(), tmp_path / "m.onnx", False, 17)
    assert [layer.name for layer in load_model(str(tmp_path / "m.onnx"), **NORM).layers[1:-1]] == NAMES


@pytest.mark.parametrize(("dynamo", "opset"), [(False, 17), (True, 20)])
def test_onnx_of_a_swin(tmp_path: Path, dynamo: bool, opset: int) -> None:
    """Bias, masks, windows and merged patches as either exporter writes them."""
    args = {"img_size": 32, "patch_size": 4, "window_size": 4, "depths": (2, 1), "num_heads": (2, 4), "embed_dim": 16}
    module = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **args).eval()
    image = export_onnx(module, tmp_path / "m.onnx", dynamo, opset)
    model = load_model(str(tmp_path / "m.onnx"), **NORM)
    assert [layer.type for layer in model.layers] == ["patch_embed", *BLOCK * 2, "reduction", *BLOCK, "head"]
    with torch.no_grad():
        torch.testing.assert_close(run_float(model, torch.from_numpy(image)), module(torch.from_numpy(image)))


def test_refused_onnx_still_lists_its_layers(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    args = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
    module = timm.create_model("vit_tiny_patch16_224", qk_norm=True, **args)
    export_onnx(module.eval(), path, False, 17)
    with pytest.raises(UnsupportedError, match="normalization of q and k"):
        load_model(str(path), **NORM, strict_integer=True)
    assert [row.type for row in doctor(str(path), **NORM).layers] == ["patch_embed", *BLOCK, "head"]


def test_bad_onnx_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export_onnx(randomized("vit_tiny_patch16_224"), path, False, 17)
    whole = path.read_bytes()
    with pytest.raises(UsageError, match="give --mean and --std"):
        load_model(str(path))
    with pytest.raises(UsageError, match="made for images of 32x32"):
        load_model(str(path), size=64, **NORM)
    with pytest.raises(UsageError, match="for timm names"):
        load_model(str(path), pretrained=True, **NORM)
    for data in (whole[: len(whole) // 2], b"", b"no onnx at all"):
        path.write_bytes(data)
        with pytest.raises(UsageError) as caught:
            load_model(str(path), **NORM)
        assert "m.onnx" in str(caught.value) and "\n" not in str(caught.value)


def small_onnx(path: Path, op: str, shape: list[object], domain: str = "", outputs: int = 1) -> None:
    """A file with a single operator."""
    names = [f"y{i}" for i in range(outputs)]
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names]
    nodes = [helper.make_node(op, ["x"], [n], name=f"the_{op}", domain=domain) for n in names]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], made)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("other", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def test_unservable_onnx_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    small_onnx(path, "LpPool", [1, 3, 8, 8], "other")
    with pytest.raises(UnsupportedError, match=r"the_LpPool: ONNX operator other\.LpPool is not supported"):
        load_model(str(path), **NORM)
    small_onnx(path, "Bernoulli", [1, 3, 8, 8])
    with pytest.raises(UnsupportedError, match="ONNX operator Bernoulli is not supported"):
        load_model(str(path), **NORM)
    small_onnx(path, "Relu", [1, 3, 8, 8])
    with pytest.raises(UnsupportedError, match="no attention layer"):
        load_model(str(path), **NORM, strict_integer=True)
    small_onnx(path, "Relu", [1, 3, "height", "width"])
    with pytest.raises(UsageError, match="give --size"):
        load_model(str(path), **NORM)
    small_onnx(path, "Relu", [1, 8])
    with pytest.raises(UnsupportedError, match="image batch"):
        load_model(str(path), **NORM)
    small_onnx(path, "Relu", [1, 3, 8, 8], outputs=2)
    with pytest.raises(UnsupportedError, match="no layer can be quantized"):
        load_model(str(path), **NORM)


@pytest.fixture(scope="module")
def vit() -> torch.nn.Module:
    return randomized("vit_tiny_patch16_224")


def save_pt2(module: torch.nn.Module, path: Path, decompose: bool = False, **options: object) -> None:
    with torch.no_grad():
        program = torch.export.export(module, (torch.randn(2, 3, 32, 32),), strict=False, **options)
    torch.export.save(program.run_decompositions() if decompose else program, path)


@pytest.mark.parametrize("decompose", [False, True])
@pytest.mark.parametrize("free_batch", [False, True])
def test_pt2_round_trip(vit: torch.nn.Module, tmp_path: Path, decompose: bool, free_batch: bool) -> None:
    shapes = {"dynamic_shapes": ({0: torch.export.Dim("b", min=1, max=64)},)} if free_batch else {}
    save_pt2(vit, tmp_path / "m.pt2", decompose, **shapes)
    model = load_model(str(tmp_path / "m.pt2"), trust_model=True, **NORM)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(run_float(model, images), vit(images), rtol=1e-4, atol=1e-5)
    assert [layer.name for layer in model.layers] == ["patch_embed.proj", *NAMES, "head"]


def test_bad_pt2_files(vit: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    save_pt2(vit, path)
    with pytest.raises(UsageError, match=r"can hold pickled code.*--trust-model"):
        load_model(str(path), **NORM)
    with pytest.raises(UsageError, match="give --mean and --std"):
        load_model(str(path), trust_model=True)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"no archive"):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=r"not a \.pt2 file"):
            load_model(str(path), trust_model=True, **NORM)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match=r"cannot read the \.pt2 file"):
        load_model(str(path), trust_model=True, **NORM)


def test_half_precision_is_refused(tmp_path: Path) -> None:
    module = randomized("vit_tiny_patch16_224").half()
    with torch.no_grad():
        program = torch.export.export(module, (torch.randn(2, 3, 32, 32).half(),), strict=False)
    torch.export.save(program, tmp_path / "m.pt2")
    with pytest.raises(UnsupportedError, match=r"float16.*float32"):
        load_model(str(tmp_path / "m.pt2"), trust_model=True, **NORM)
