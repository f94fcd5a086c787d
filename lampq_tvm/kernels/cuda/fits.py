"""Whether a block of an architecture has the shared memory that a kernel needs."""

from __future__ import annotations

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.cuda.attention import attention_shared_bytes
from lampq_tvm.kernels.cuda.attention_half import half_attention_shared_bytes
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape
from lampq_tvm.kernels.cuda.levels import attention_mma, half_mma, shared_limit
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


def check_attention(shape: CudaAttentionShape, arch: str, *, half: bool, where: str) -> None:
    """Refuse an attention that does not fit.

    Args:
        half: it works on float16 values, else on codes.
        where: named in the error.

    Raises:
        UnsupportedError: it does not fit; the hint says what does.
    """
    of_half, limit = half_attention_shared_bytes(shape, half_mma(arch)), shared_limit(arch)
    needed = of_half if half else attention_shared_bytes(shape, attention_mma(arch))
    if needed > limit:
        what = f"attention over {shape.tokens} tokens needs {needed} bytes of shared memory, a block of {arch} has {limit}"
        kept = "keep attention at 16 bits (--attention-bits 16), or " if of_half <= limit else ""
        raise UnsupportedError(what, where=where, hint=f"{kept}compile for the board's :cpu")
