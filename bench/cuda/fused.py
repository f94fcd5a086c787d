"""Cases of products with what is fused around them: LayerNorms that follow, rows by an index, heads that are turned."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bench.cuda.cases import Named
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.following import Following
from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.operand import Gather
from lampq_tvm.kernels.cuda.product import build_product
from lampq_tvm.kernels.cuda.tiles import default_tiles
from lampq_tvm.kernels.cuda.turned import Turning
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import of_width
from lampq_tvm.oracle import ops
from lampq_tvm.tune.cuda.case import EPS, CudaCase, case_of, packed_rows, product_case

SIZES = ((1, 10, 96), (65, 64, 33), (197, 192, 768), (300, 384, 96))  # one tile of columns, and several
PAIRS = ((8, 8, 8), (4, 8, 8), (4, 4, 4))  # of weights, activations, and the codes that follow


def fused_products(arch: str) -> Iterator[Named]:
    """(name, builder, case) of each kind."""
    for i, sizes in enumerate(SIZES):
        for w, a, bits in PAIRS:
            for epilogue in ("residual", "float"):
                yield _followed(ProductShape(*sizes, epilogue), w, a, bits, arch, i)
    for w, a, normed in ((8, 8, False), (4, 4, False), (8, 8, True)):
        yield _gathered(w, a, normed, arch)
    for i, (images, tokens, heads, head_dim) in enumerate(((2, 197, 3, 64), (1, 26, 3, 12))):
        yield _turned(images, Turning(tokens, heads, head_dim), arch, i)


def _followed(shape: ProductShape, w: int, a: int, bits: int, arch: str, seed: int) -> Named:
    """The codes of a LayerNorm of the stream that a product adds to; or of its sum with a stream."""
    mma, summed, rng = mma_for(w, a, arch), shape.epilogue == "float", np.random.default_rng(seed)
    tiles = default_tiles(shape, mma)
    case = product_case(shape, w, a, mma, tiles, seed=seed)
    found, half = case.expected.view(np.float32), 1 << (bits - 1)
    G, B = (rng.normal(0, spread, shape.n).astype(np.float32) for spread in (half / 2, 1))
    more = {"next_G": G, "next_B": B, "next_range": np.array([-half, half - 1], np.float32)}
    more["count"] = np.zeros(-(-shape.rows // tiles.rows), np.int32)
    wanted = ops.layer_norm_codes(found, G, B, EPS, bits)
    if summed:
        base, affine = rng.normal(0, 30, found.shape).astype(np.float32), np.array([half / 40, -1], np.float32)
        more |= {"base": base, "sum": np.zeros_like(base), "next_affine": affine}
        wanted = ops.to_codes(ops.add(base, ops.layer_norm_float(found, G, B, EPS)), affine, bits)
    codes = packed_rows(wanted, bits).view(np.uint8)
    buffers = {**case.buffers, **more, "codes": np.zeros_like(codes)}
    build = _builder(shape, mma, following=Following(of_width(bits), EPS, summed))
    name = f"{shape.key}_{mma.name}_w{w}a{a}_{'sum' if summed else 'norm'}{bits}"
    return name, build, CudaCase(buffers, codes[:, : shape.n * bits // 8], "codes")


def _gathered(w: int, a: int, normed: bool, arch: str) -> Named:
    """Rows that an index takes from two images of 196 tokens; of a LayerNorm too."""
    gather, rng = Gather(196, 196), np.random.default_rng(w)
    shape, mma = ProductShape(2 * gather.taken, 96, 96, "codes"), mma_for(w, a, arch)
    case = product_case(shape, w, a, mma, default_tiles(shape, mma), normed=normed)
    index, name = rng.permutation(gather.taken).astype(np.int32), "stream" if normed else "A"
    source = np.zeros_like(case.buffers[name])
    source[(index + gather.rows * np.arange(2)[:, None]).reshape(-1)] = case.buffers[name]
    build = _builder(shape, mma, norm_eps=EPS if normed else None, gather=gather)
    buffers = {**case.buffers, name: source, "index": index}
    return f"{shape.key}_{mma.name}_gathered{'_normed' * normed}", build, CudaCase(buffers, case.expected)


def _turned(images: int, of: Turning, arch: str, seed: int) -> Named:
    """q and k turned by their token's angles, to codes."""
    rng, width = np.random.default_rng(seed), 3 * of.heads * of.head_dim
    mma, rows = mma_for(8, 8, arch), images * of.tokens
    shape, plain = (ProductShape(rows, width, 64, epilogue) for epilogue in ("turned", "float"))
    case = product_case(plain, 8, 8, mma, default_tiles(plain, mma), seed=seed)
    cos, sin = (rng.uniform(-1, 1, (of.tokens, of.head_dim)).astype(np.float32) for _ in range(2))
    inv, partner = rng.uniform(0.5, 2, (3, of.heads)).astype(np.float32), (np.arange(of.head_dim) ^ 1).astype(np.int32)
    qkv = case.expected.view(np.float32).reshape(images, of.tokens, width)
    wanted = ops.rotary(qkv, cos, sin, partner, inv, 8).reshape(rows, width)
    buffers = {name: array for name, array in case.buffers.items() if name != "out"} | {"cos": cos, "sin": sin, "inv": inv}
    return f"{shape.key}_{mma.name}{of.suffix}", _builder(shape, mma, turning=of), case_of(buffers, None, wanted)


def _builder(shape: ProductShape, mma: Mma, **fused: object) -> Callable[[str], CudaKernel]:
    return lambda name: build_product(shape, mma, name=name, **fused)  # type: ignore[arg-type]
