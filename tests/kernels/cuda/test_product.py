"""Products on tensor cores with every epilogue, at every pair of widths, against the integer oracle."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.operand import Gather
from lampq_tvm.kernels.cuda.product import build_product, weight_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles, check_tiles, default_tiles
from lampq_tvm.kernels.shapes import EPILOGUES, ProductShape
from lampq_tvm.kinds import of_width
from lampq_tvm.oracle import ops
from lampq_tvm.runtime.words import pack_words
from tests.examples import examples
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_rows, run, unpack_rows
from tests.kernels.products import Product, epilogue_case, inputs

ARCHS = ("sm_72", "sm_75", "sm_87", "sm_90")
PAIRS = tuple(itertools.product(range(2, 9), repeat=2))
TILES = (CudaTiles(16, 64, 8, 2, 1, 2), CudaTiles(32, 32, 24, 4, 1, 1), CudaTiles(128, 64), CudaTiles(64, 128, 32, 2, 4, 1))
CONSTANTS = {  # the kernel's names of what `epilogue_case` returns
    "codes": ("S", "B", "range"),
    "table": ("S", "B", "table"),
    "float": ("S", "B"),
    "residual": ("before", "S", "B"),
    "stream": ("S", "B", "pos"),
}
EPS = 1e-6
extents, widths = st.integers(1, 70), st.integers(2, 8)
FEW = examples(40)


@dataclass(frozen=True)
class OnGpu:
    """A product on an architecture.

    Attributes:
        packed: codes go out two a byte.
        normed: its codes are the LayerNorm of a stream, made in the kernel.
        gather: its rows are taken by an index.
    """

    product: Product
    arch: str = "sm_87"
    tiles: CudaTiles | None = None
    packed: bool = False
    normed: bool = False
    gather: Gather | None = None


def check(case: OnGpu) -> None:
    """The kernel's output equals the oracle's, bit for bit."""
    product, shape = case.product, case.product.shape
    mma = mma_for(product.w_bits, product.a_bits, case.arch)
    tiles, coded = case.tiles or default_tiles(shape, mma), shape.epilogue in ("codes", "table")
    a, w, rng = inputs(product)
    order = np.arange(shape.rows)
    buffers = {"W": pack_words(w, mma.name, weight_words(shape, mma, tiles))}
    if case.gather is not None:
        images, taken, rows = shape.rows // case.gather.taken, case.gather.taken, case.gather.rows
        buffers["index"] = rng.integers(0, rows, taken).astype(np.int32)
        order = (buffers["index"] + rows * np.arange(images)[:, None]).reshape(-1)
        a = data.codes(rng, images * rows, shape.k, product.a_bits)
    if case.normed:
        stream = rng.normal(0, 2, a.shape).astype(np.float32)
        G, N = (rng.normal(0, scale, shape.k).astype(np.float32) for scale in (1 << (product.a_bits - 2), 1))
        buffers |= {"stream": stream, "G": G, "N": N, "bounds": data.code_range(product.a_bits)}
        a = ops.layer_norm_codes(stream, G, N, EPS, product.a_bits, shape.k % 3 > 0)
    buffers["A"], a = pack_rows(a, mma.a_bits), a[order]
    with np.errstate(over="ignore", invalid="ignore"):
        constants, wanted = epilogue_case(product, ops.product_acc(a, w), rng)
    named = dict(zip(CONSTANTS[shape.epilogue], constants, strict=True))
    bits = 4 if case.packed else 8
    before = named.pop("before", pack_rows(np.zeros_like(wanted), bits) if coded else np.zeros_like(wanted))
    norm = {"norm_eps": EPS if case.normed else None, "centred": shape.k % 3 > 0}
    kernel = build_product(shape, mma, out=of_width(bits), tiles=tiles, gather=case.gather, **norm)
    found = run(kernel, case.arch, buffers | named, before)
    found = unpack_rows(found, shape.n, bits) if coded else found
    assert found.tobytes() == wanted.tobytes(), f"{int((found != wanted).sum())} of {wanted.size} differ: {case}"


@st.composite
def cases(draw: st.DrawFn) -> OnGpu:
    """Any product, small."""
    epilogue, rows = draw(st.sampled_from(EPILOGUES)), draw(extents)
    period = draw(st.sampled_from((1, 7, 16, 25))) if epilogue == "stream" else 0
    rows = period * draw(st.integers(1, 3)) if period else rows
    shape = ProductShape(rows, draw(extents), draw(st.integers(1, 140)), epilogue, period)
    w_bits, a_bits, arch, packed = draw(widths), draw(widths), draw(st.sampled_from(ARCHS)), draw(st.booleans())
    product = Product(shape, w_bits, a_bits, draw(st.integers(2, 4)) if packed else draw(widths), seed=draw(st.integers(0, 99)))
    normed = draw(st.booleans())
    able = [tiles for tiles in TILES if check_tiles(tiles, mma_for(w_bits, a_bits, arch), normed)]
    gather = Gather(draw(extents), rows) if draw(st.booleans()) else None
    return OnGpu(product, arch, draw(st.none() | st.sampled_from(able)), packed, normed, gather)


@FEW
@given(case=cases())
def test_any_product(case):
    check(case)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_pair_of_widths(arch):
    """Rows and channels of extreme codes meet each other."""
    for i, (w_bits, a_bits) in enumerate(PAIRS if arch == "sm_87" else PAIRS[::5]):
        check(OnGpu(Product(ProductShape(18, 35, 75, "float"), w_bits, a_bits, seed=i), arch))


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(("w_bits", "a_bits"), [(8, 8), (4, 8), (4, 4)])
def test_edges_of_rows_columns_and_steps(w_bits, a_bits, normed):
    """One, one off a tile, one off an instruction, one off 16 bytes."""
    sizes = [(1, 1, 1), (63, 65, 33), (64, 64, 64), (65, 63, 31), (17, 9, 129), (197, 10, 96), (2, 1000, 15)]
    for seed, (m, n, k) in enumerate(sizes):
        shape = ProductShape(m, n, k, ("codes", "table", "residual", "float")[seed % 4])
        check(OnGpu(Product(shape, w_bits, a_bits, 4, seed=seed), packed=seed % 2 == 0, normed=normed))


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("normed", [False, True])
def test_rows_of_several_images_are_taken_by_an_index(arch, normed):
    """As windows are of a plane of tokens, and the plane of more tokens than it has."""
    for rows, taken in ((98, 98), (50, 35)):
        for w_bits, a_bits in ((8, 8), (4, 4)):
            shape = ProductShape(3 * taken, 40, 72, "residual" if rows == taken else "codes")
            check(OnGpu(Product(shape, w_bits, a_bits, seed=rows), arch, normed=normed, gather=Gather(rows, taken)))


def test_a_deit_block():
    """The products of a block of DeiT-T as they are launched at batch 1."""
    for n, k, epilogue, normed in ((576, 192, "codes", True), (192, 192, "residual", False), (768, 192, "table", True)):
        check(OnGpu(Product(ProductShape(197, n, k, epilogue), 4, 4), normed=normed))
    check(OnGpu(Product(ProductShape(197, 192, 768, "residual"))))


def test_a_wrong_word_is_seen(monkeypatch):
    """The check itself: one weight code is changed on its way to the device."""

    right = pack_words

    def flipped(codes, layout, words):
        changed = codes.copy()
        changed[3, 5] ^= 1
        return right(changed, layout, words)

    monkeypatch.setattr(sys.modules[__name__], "pack_words", flipped)
    with pytest.raises(AssertionError, match="differ"):
        check(OnGpu(Product(ProductShape(20, 10, 40, "float"))))
