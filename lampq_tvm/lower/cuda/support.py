"""What of a model has no CUDA kernel, told before any work starts; knows the imported model alone and loads no compiler."""

from __future__ import annotations

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network import model as m

LARGEST_POOLED = 256  # channels of a pooling head: a thread for each word of them
HEAD_STEP = 4  # channels of a head come in whole words of codes


def check_cuda_model(model: m.ImportedModel, target: str, cpu: str | None) -> None:
    """Refuse a model that a GPU has no kernel for.

    Args:
        target: named in the error.
        cpu: the same board's Arm cores, offered instead; None where it has none.

    Raises:
        UnsupportedError: the first operator without a kernel, by name.
    """
    for op in model.ops:
        what = None
        if isinstance(op, m.Attention | m.AttentionPool | m.UnitHeads | m.Rotary) and op.head_dim % HEAD_STEP:
            what = f"attention heads of {op.head_dim} channels"
        elif isinstance(op, m.AttentionPool) and op.head_dim > LARGEST_POOLED:
            what = f"pooling heads of {op.head_dim} channels"
        if what is not None:
            hint = f"compile for {cpu}" if cpu else "compile for host"
            raise UnsupportedError(f"{target}: there is no CUDA kernel for {what}", where=op.name, hint=hint)


def check_cuda_attention(model: m.ImportedModel, arch: str, *, half: bool) -> None:
    """Refuse a model whose attention does not fit into a block's shared memory; this loads TVM.

    Args:
        half: attention works on float16 values, else on codes.

    Raises:
        UnsupportedError: the first such attention, by name.
    """
    from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape, with_warps
    from lampq_tvm.kernels.cuda.fits import check_attention

    for op in model.ops:
        if isinstance(op, m.Attention):
            tokens = model.shapes[op.name][-2]  # with windows, of a window
            shape = with_warps(CudaAttentionShape(1, tokens, op.heads, op.head_dim))
            check_attention(shape, arch, half=half, where=op.name)
