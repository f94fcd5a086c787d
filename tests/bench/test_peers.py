"""The parts of the peer benches that could be wrong without a figure looking wrong: ratios, converters, ncnn's int8 files."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.common.peers.ncnn_friendly import friendly
from bench.common.peers.ncnn_int8 import INT8, quantize
from bench.common.peers.peer import Runner
from bench.common.peers.rows import judged, with_ratios
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.timm_source import build_timm

PARAM = """7767517
4 4
Input in0 0 1 in0
LayerNorm ln 1 1 in0 a 0=4 1=1.000000e-6 2=1
Gemm gemm 1 1 a b 10=4 2=0 3=1 4=0 5=1 6=1 7=3 8=2 9=4
SDPA sdpa 3 1 b b b out0 5=0
"""


def float_file(folder):
    weights = np.array([[1.0, -2.0, 0.5, 0.0], [0.25, 2.0, -1.0, 1.5]], np.float32)
    bias, gamma = np.array([3.0, 4.0], np.float32), np.ones(8, np.float32)
    (folder / "float.param").write_text(PARAM)
    (folder / "float.bin").write_bytes(gamma.tobytes() + bytes(4) + weights.tobytes() + bytes(4) + bias.tobytes())
    return folder / "float.param"


def test_ncnn_int8_has_tag_codes_bias_and_one_scale(tmp_path):
    quantize(float_file(tmp_path), tmp_path / "int8.param")
    held = (tmp_path / "int8.bin").read_bytes()[32:]  # behind LayerNorm
    codes = np.frombuffer(held[4:12], np.int8)
    assert held[:4] == INT8.tobytes()
    assert codes.tolist() == [64, -127, 32, 0, 16, 127, -64, 95]  # 127 / 2 each, ties to even
    assert np.frombuffer(held[16:24], np.float32).tolist() == [3.0, 4.0]
    assert np.frombuffer(held[24:], np.float32).tolist() == [63.5]
    marked = [line.split()[0] for line in (tmp_path / "int8.param").read_text().splitlines() if line.endswith(" 18=2")]
    assert marked == ["Gemm", "SDPA"]


def test_ncnn_int8_of_a_product_without_bias(tmp_path):
    (tmp_path / "float.param").write_text("7767517\n1 1\nGemm g 1 1 a out0 10=-1 2=0 3=1 4=0 5=1 6=1 7=3 8=1 9=2\n")
    (tmp_path / "float.bin").write_bytes(bytes(4) + np.array([1.0, -4.0], np.float32).tobytes())
    quantize(tmp_path / "float.param", tmp_path / "int8.param")
    held = (tmp_path / "int8.bin").read_bytes()
    assert held == INT8.tobytes() + np.array([32, -127, 0, 0], np.int8).tobytes() + np.float32(31.75).tobytes()


@pytest.mark.parametrize("line", ["Convolution1D odd 1 1 a out0 0=4", "Gemm two 2 1 a b out0 3=1"])
def test_ncnn_int8_refuses_what_it_does_not_know(tmp_path, line):
    (tmp_path / "float.param").write_text(f"7767517\n1 1\n{line}\n")
    (tmp_path / "float.bin").write_bytes(b"")
    with pytest.raises(UnsupportedError):
        quantize(tmp_path / "float.param", tmp_path / "int8.param")


def test_ncnn_int8_refuses_weights_left_over(tmp_path):
    param = float_file(tmp_path)
    with param.with_suffix(".bin").open("ab") as file:
        file.write(bytes(4))
    with pytest.raises(UnsupportedError, match="more than its layers"):
        quantize(param, tmp_path / "int8.param")


@pytest.mark.parametrize(
    ("name", "size"), [("vit_tiny_patch16_224", {"depth": 2}), ("swin_tiny_patch4_window7_224", {"depths": [2, 2]})]
)
def test_ncnn_friendly_form_is_the_same_network(name, size):
    module = build_timm(name, None, False, size, 0)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = module(image)
        after = friendly(module)(image)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 1 - 1e-9  # the same sums in another order


def test_ratios_leave_out_what_has_no_figure_and_ourselves():
    rows = [
        {"runner": "onnxruntime fp32", "value": 8.0},
        {"runner": "ncnn int8", "value": 4.0},
        {"runner": "litert int8", "missing": "no wheel"},
        {"runner": "lampq 8/8", "value": 2.0},
    ]
    assert [row["of_best"] for row in with_ratios(rows)] == [2.0, 1.0, None, 0.5]
    assert [row["of_fp32"] for row in rows] == [1.0, 0.5, None, 0.25]


@pytest.mark.parametrize(("found", "kept"), [(0.96, True), (0.94, False), (float("nan"), False)])
def test_another_network_has_no_figure(found, kept):
    case = SimpleNamespace(correlation=lambda logits: found)
    row = judged({"value": 1.0, "p95": 2.0, "logits": [0.0]}, case, Runner("ncnn", "x.param"))
    assert ("value" in row) is kept and ("missing" in row) is not kept and "logits" not in row
