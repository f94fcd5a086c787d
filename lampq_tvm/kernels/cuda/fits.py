"""Whether a block of an architecture has the shared memory that a kernel needs."""

from __future__ import annotations

from lampq_tvm.kernels.cuda.attention import attention_shared_bytes
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape
from lampq_tvm.kernels.cuda.levels import attention_mma, shared_limit
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.product import shared_words
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.shapes import ProductShape


def product_fits(shape: ProductShape, mma: Mma, tiles: CudaTiles, arch: str, *, normed: bool) -> bool:
    """Whether a product with these tiles fits; `normed`: it makes its codes by LayerNorm."""
    return 4 * shared_words(shape, mma, tiles, normed=normed) <= shared_limit(arch)


def attention_fits(shape: CudaAttentionShape, arch: str) -> bool:
    """Whether an attention on codes fits with its warps."""
    return attention_shared_bytes(shape, attention_mma(arch)) <= shared_limit(arch)
