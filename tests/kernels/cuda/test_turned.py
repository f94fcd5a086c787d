"""Products that turn q and k where they make them, against the oracle's product and rotation, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles, default_tiles
from lampq_tvm.kernels.cuda.turned import Turning
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import of_width
from lampq_tvm.oracle import ops
from lampq_tvm.runtime.words import pack_words
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_halves, pack_rows, run, unpack_rows
from tests.kernels.products import Product, inputs

SIZES = [(2, 26, 3, 12), (1, 17, 2, 64), (3, 5, 1, 4), (1, 9, 2, 40), (1, 65, 5, 20)]  # images, tokens, heads, head_dim


@pytest.mark.parametrize("arch", ["sm_72", "sm_75", "sm_87", "sm_90"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("w_bits", "a_bits", "out_bits"), [(8, 8, 8), (4, 8, 16), (4, 4, 8)])
def test_turned(arch, sizes, w_bits, a_bits, out_bits):
    images, tokens, heads, head_dim = sizes
    shape = ProductShape(images * tokens, 3 * heads * head_dim, 40, "turned")
    a, w, rng = inputs(Product(shape, w_bits, a_bits, seed=tokens))
    mma, acc = mma_for(w_bits, a_bits, arch), ops.product_acc(a, w)
    tiles = default_tiles(shape, mma) if tokens % 2 else CudaTiles(32, 64, 16, 2, 2, 1)
    S, B = (rng.normal(0, spread, shape.n).astype(np.float32) for spread in (2 / max(1.0, float(acc.std())), 1))
    cos, sin = (rng.uniform(-1, 1, (tokens, head_dim)).astype(np.float32) for _ in range(2))
    inv, partner = rng.uniform(10, 60, (3, heads)).astype(np.float32), np.arange(head_dim) ^ 1
    qkv = ops.float_out(acc, S, B).reshape(images, tokens, -1)
    wanted = ops.rotary(qkv, cos, sin, partner.astype(np.int32), inv, of_width(out_bits)).reshape(acc.shape)
    buffers = {"A": pack_rows(a, mma.a_bits), "W": pack_words(w, mma.name, weight_words(shape, mma, tiles)), "S": S, "B": B}
    buffers |= {"cos": cos, "sin": sin, "inv": inv, "range": data.code_range(8)}
    kernel = build_product(shape, mma, out=of_width(out_bits), turning=Turning(tokens, heads, head_dim), tiles=tiles)
    before = pack_halves(wanted) * np.float16(0) if out_bits == 16 else np.zeros_like(pack_rows(wanted, 8))
    found = run(kernel, arch, buffers, before)
    codes = found[:, : shape.n] if out_bits == 16 else unpack_rows(found, shape.n, 8)
    assert codes.dtype == wanted.dtype and (codes == wanted).all()
