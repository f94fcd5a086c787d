"""A product and the LayerNorm that follows it in one kernel, against the oracle's steps, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.cuda import following
from lampq_tvm.kernels.cuda.following import Following
from lampq_tvm.kernels.cuda.levels import half_mma, mma_for
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles, check_tiles, default_tiles
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind, of_width
from lampq_tvm.oracle import ops
from lampq_tvm.ptx import KernelError
from lampq_tvm.runtime.words import pack_words
from tests.examples import examples
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_halves, pack_rows, run_outs, unpack_rows
from tests.kernels.products import Product, inputs

ARCHS = ("sm_72", "sm_75", "sm_87", "sm_90")
TILES = (CudaTiles(16, 64, 8, 2, 1, 2), CudaTiles(32, 64, 32, 3, 1, 2, 2), CudaTiles(128, 64), CudaTiles(48, 32, 16, 3, 3, 1))
EPS = 1e-6
FEW = examples(30)


def check(product: Product, arch: str, tiles: CudaTiles | None = None, times: int = 1) -> None:
    """Stream and codes equal the oracle's, and the count is zero again; of a sum of `float` its float values too."""
    shape, bits = product.shape, 4 if product.out_bits <= 4 else 8
    mma = mma_for(product.w_bits, product.a_bits, arch)
    tiles = tiles or default_tiles(shape, mma)
    a, w, rng = inputs(product)
    acc = ops.product_acc(a, w)
    scale, b = (rng.normal(0, spread, shape.n).astype(np.float32) for spread in (3 / max(1.0, float(acc.std())), 1))
    stream = rng.normal(0, 3, acc.shape).astype(np.float32)
    centred = shape.n % 3 > 0  # without a mean it is RMSNorm
    G, B = (rng.normal(0, spread, shape.n).astype(np.float32) for spread in (1 << (product.out_bits - 2), 1))
    wanted = {"out": ops.float_out(acc, scale, b)}
    if shape.epilogue == "residual":
        wanted["out"] = stream
        for _ in range(times):
            wanted["out"] = ops.residual(wanted["out"], acc, scale, b)
        codes = ops.layer_norm_codes(wanted["out"], G, B, EPS, product.out_bits, centred)
    else:
        affine = np.array([1.5, -1], np.float32)
        wanted["sum"] = ops.add(stream, ops.layer_norm_float(wanted["out"], G, B, EPS, centred))
        codes = ops.to_codes(wanted["sum"], affine, product.out_bits)
    buffers = {"A": pack_rows(a, mma.a_bits), "W": pack_words(w, mma.name, weight_words(shape, mma, tiles)), "S": scale, "B": b}
    buffers |= {"next_G": G, "next_B": B, "next_range": data.code_range(product.out_bits)}
    outs = {"out": stream, "codes": np.zeros_like(pack_rows(codes, bits))}
    outs["count"] = np.zeros(-(-shape.rows // tiles.rows), np.int32)
    if shape.epilogue == "float":
        buffers |= {"base": stream, "next_affine": affine}
        outs["sum"] = np.zeros_like(stream)
    following = Following(of_width(bits), EPS, summed=shape.epilogue == "float", centred=centred)
    found = run_outs(build_product(shape, mma, following=following, tiles=tiles), arch, buffers, outs, times)
    for name, values in wanted.items():
        assert found[name].tobytes() == values.tobytes(), (product, name)
    assert unpack_rows(found["codes"], shape.n, bits).tobytes() == codes.tobytes(), product
    assert not found["count"].any()


@st.composite
def cases(draw: st.DrawFn) -> tuple[Product, str, CudaTiles | None]:
    """Any product onto a stream, or whose LayerNorm is added to one, small."""
    extents, widths = st.integers(1, 150), st.integers(2, 8)
    epilogue = draw(st.sampled_from(("residual", "float")))
    shape = ProductShape(draw(extents), draw(extents), draw(st.integers(1, 80)), epilogue)
    product = Product(shape, draw(widths), draw(widths), draw(widths), seed=draw(st.integers(0, 99)))
    arch = draw(st.sampled_from(ARCHS))
    able = [tiles for tiles in TILES if check_tiles(tiles, mma_for(product.w_bits, product.a_bits, arch), False)]
    return product, arch, draw(st.none() | st.sampled_from(able))


@FEW
@given(case=cases())
def test_any_product(case):
    check(*case)


@pytest.mark.parametrize("arch", ["sm_72", "sm_80", "sm_87", "sm_110"])
@pytest.mark.parametrize("epilogue", ["residual", "float"])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (65, 64, 32), (64, 192, 96), (200, 100, 33), (3, 768, 16)])
def test_edges(arch, epilogue, sizes):
    """One block beside none and beside several; rows and channels off every tile; launched again on what it left."""
    check(Product(ProductShape(*sizes, epilogue), 4, 8, 4 + 4 * (sizes[0] % 2), seed=sizes[1]), arch, times=2)


@pytest.mark.parametrize("bits", [0, 16])
def test_a_sum_without_codes_or_with_float16_values(bits):
    rng, shape, mma = np.random.default_rng(0), ProductShape(40, 93, 32, "float"), mma_for(8, 8, "sm_87")
    tiles = default_tiles(shape, mma)
    a, w, _ = inputs(Product(shape))
    scale, b, G, B = (rng.normal(0, 1, shape.n).astype(np.float32) for _ in range(4))
    base = rng.normal(0, 1, (shape.rows, shape.n)).astype(np.float32)
    buffers = {"A": pack_rows(a, 8), "W": pack_words(w, mma.name, weight_words(shape, mma, tiles)), "S": scale, "B": b}
    outs = {"out": np.zeros_like(base), "sum": np.zeros_like(base), "count": np.zeros(-(-shape.rows // tiles.rows), np.int32)}
    affine = np.array([1.5, -1], np.float32)
    outs |= {"codes": pack_halves(base)} if bits else {}
    kernel = build_product(shape, mma, following=Following(of_width(bits) if bits else None, EPS, summed=True), tiles=tiles)
    found = run_outs(kernel, "sm_87", buffers | {"next_G": G, "next_B": B, "base": base, "next_affine": affine}, outs)
    wanted = ops.add(base, ops.layer_norm_float(ops.float_out(ops.product_acc(a, w), scale, b), G, B, EPS))
    assert found["sum"].tobytes() == wanted.tobytes()
    if bits:
        halves = found["codes"]
        assert (
            halves[:, : shape.n].tobytes() == ops.to_codes(wanted, affine, of_width(bits)).tobytes()
            and np.isfinite(halves).all()
        )


@pytest.mark.parametrize("arch", ["sm_75", "sm_87"])
def test_float16(arch):
    """Float16 values follow a product of float16 values: they are those of the stream that the kernel left, to the bit."""
    rng, (rows, n, k), mma = np.random.default_rng(0), (70, 72, 40), half_mma(arch)
    shape = ProductShape(rows, n, k, "residual")
    tiles = default_tiles(shape, mma)
    a, w = (rng.normal(0, 1, size).astype(np.float16) for size in ((rows, k), (n, k)))
    G, B, scale, b, stream = (rng.normal(0, 1, size).astype(np.float32) for size in (n, n, n, n, (rows, n)))
    buffers = {"A": pack_halves(a), "W": pack_words(w, mma.name, weight_words(shape, mma, tiles)), "S": scale, "B": b}
    buffers |= {"next_G": G, "next_B": B}
    outs = {"out": stream, "codes": pack_halves(stream) * np.float16(0), "count": np.zeros(-(-rows // tiles.rows), np.int32)}
    kernel = build_product(shape, mma, following=Following(Kind.FLOAT16, EPS), tiles=tiles)
    found = run_outs(kernel, arch, buffers, outs)
    near = stream + (a.astype(np.float32) @ w.T.astype(np.float32)) * scale + b
    np.testing.assert_allclose(found["out"], near, rtol=1e-3, atol=1e-3)
    wanted = ops.layer_norm_codes(found["out"], G, B, EPS, Kind.FLOAT16)
    assert found["codes"][:, :n].tobytes() == wanted.tobytes()


@pytest.mark.parametrize(("right", "wrong"), [("  __threadfence();\n", ""), ("return before", "return 2 - before")])
def test_a_missing_fence_or_the_first_block_is_seen(right, wrong, monkeypatch):
    """The interpreter itself: nothing says then that the block that goes on sees what the others wrote."""
    monkeypatch.setattr(following, "COUNT_IN", following.COUNT_IN.replace(right, wrong, 1))
    with pytest.raises(KernelError, match="reads what another block wrote"):
        check(Product(ProductShape(40, 192, 32, "residual")), "sm_87")
