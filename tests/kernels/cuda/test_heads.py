"""What happens to heads and tokens around products, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.kernels.cuda import heads, tokens
from lampq_tvm.kernels.cuda.regroup import RegroupShape, build_regroup
from lampq_tvm.kinds import of_width
from lampq_tvm.oracle import ops
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_halves, pack_rows, run, unpack_rows

SIZES = [(2, 26, 3, 12), (1, 17, 2, 64), (3, 5, 1, 4), (1, 9, 2, 40)]


def qkv_case(sizes: tuple[int, int, int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """qkv [images * tokens, 3 * heads * head_dim] and what turns it into codes of the whole range and a little beyond."""
    images, count, head_count, head_dim = sizes
    rng = np.random.default_rng(sum(sizes))
    qkv = rng.normal(0, 2, (images * count, 3 * head_count * head_dim)).astype(np.float32)
    qkv[0, :head_dim] = 0  # no length
    half = rng.permutation(head_dim).astype(np.int32)
    cos, sin = (rng.uniform(-1, 1, (count, head_dim)).astype(np.float32) for _ in range(2))
    inv = rng.uniform(10, 60, (3, head_count)).astype(np.float32)
    return qkv, {"qkv": qkv, "cos": cos, "sin": sin, "partner": half, "inv": inv, "range": data.code_range(8)}


def check(kernel, buffers: dict[str, np.ndarray], wanted: np.ndarray, bits: int) -> None:
    """Codes, or float16 values, are the oracle's."""
    rows, channels = wanted.shape
    found = run(kernel, "sm_87", buffers, np.zeros((rows, -(-channels * bits // 128) * 16), np.uint8))
    codes = found.view(np.float16)[:, :channels] if bits == 16 else unpack_rows(found, channels, bits)
    assert codes.dtype == wanted.dtype and (codes == wanted).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("sizes", SIZES)
def test_rotary(sizes, bits):
    images, count, head_count, head_dim = sizes
    qkv, b = qkv_case(sizes)
    wanted = ops.rotary(qkv.reshape(images, count, -1), b["cos"], b["sin"], b["partner"], b["inv"], of_width(bits))
    kernel = heads.build_rotary(images * count, count, head_count, head_dim, of_width(bits))
    check(kernel, b, wanted.reshape(qkv.shape), bits)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("sizes", SIZES)
def test_unit_heads(sizes, bits):
    images, count, head_count, head_dim = sizes
    qkv, b = qkv_case(sizes)
    wanted = ops.unit_heads(qkv, b["inv"], head_count, 1e-12, of_width(bits))
    check(heads.build_unit_heads(images * count, head_count, head_dim, 1e-12, of_width(bits)), b, wanted, bits)


def test_gate():
    rng = np.random.default_rng(0)
    both, table = rng.normal(0, 60, (7, 52)).astype(np.float32), rng.normal(0, 1, 256).astype(np.float32)
    both[0, :4] = (-300, 300, -128.5, 126.5)
    buffers, sizes = {"g": both, "x": both, "table": table}, (7, 52, 52, 2, 27, 25)
    found = run(tokens.build_gate(tokens.GateShape(*sizes)), "sm_87", buffers, np.zeros((7, 25), np.float32))
    wanted = ops.gate(both[:, 2:27], both[:, 27:52], table)
    assert found.tobytes() == wanted.tobytes()
    for bits in (4, 8, 16):
        buffers |= {"affine": np.array([0.3, -1], np.float32), "range": data.code_range(bits)}
        kernel = tokens.build_gate(tokens.GateShape(*sizes, of_width(bits)))
        check(kernel, buffers, ops.to_codes(wanted, buffers["affine"], of_width(bits)), bits)


@pytest.mark.parametrize(("parts", "channels"), [(1, 24), (1, 10), (4, 8), (4, 6), (2, 5)])
@pytest.mark.parametrize(("bits", "out_bits"), [(8, 8), (8, 4), (16, 16), (32, 32)])
def test_regroup(parts, channels, bits, out_bits):
    """Some tokens twice, some not at all, some that are not there."""
    rng, width = np.random.default_rng(parts * channels), parts * channels
    index = rng.integers(-1, 9, (11, parts)).astype(np.int32)
    index[0] = -1
    x = {8: lambda: data.codes(rng, 18, channels, out_bits), 16: lambda: rng.normal(0, 1, (18, channels)).astype(np.float16)}
    rows = x.get(bits, lambda: rng.normal(0, 1, (18, channels)).astype(np.float32))()
    fill = np.array([-3], rows.dtype)
    wanted = ops.regroup(rows.reshape(2, 9, channels), index, fill, 9).reshape(22, width)
    held = {8: lambda: pack_rows(rows, 8), 16: lambda: pack_halves(rows), 32: lambda: rows}[bits]()
    shape = RegroupShape(2, 9, 11, parts, channels, bits, out_bits)
    out = np.zeros((22, width * 4 if bits == 32 else -(-width * out_bits // 128) * 16), np.uint8)
    found = run(build_regroup(shape), "sm_87", {"x": held, "index": index, "fill": fill}, out)
    if bits == 8:
        assert (unpack_rows(found, width, out_bits) == wanted).all()
    else:
        assert (found.view(rows.dtype)[:, :width] == wanted).all() and np.isfinite(found.view(rows.dtype)).all()
