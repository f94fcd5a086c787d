"""What of a model has no CUDA kernel, told before any work starts; knows the imported model alone and loads no compiler."""

from __future__ import annotations

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.lower.cuda.limits import MEMORY, SIZES
from lampq_tvm.network.model import ImportedModel


def check_cuda_model(model: ImportedModel, target: str, cpu: str | None) -> None:
    """Refuse a model that a GPU has no kernel for.

    Args:
        target: named in the error.
        cpu: the same board's Arm cores, offered instead; None where it has none.

    Raises:
        UnsupportedError: the first operator without a kernel, by name.
    """
    for op in model.ops:
        limit = SIZES.get(type(op))
        what = None if limit is None else limit(op)
        if what is not None:
            hint = f"compile for {cpu}" if cpu else "compile for host"
            raise UnsupportedError(f"{target}: there is no CUDA kernel for {what}", where=op.name, hint=hint)


def check_cuda_attention(model: ImportedModel, arch: str, *, half: bool) -> None:
    """Refuse a model whose attention does not fit into a block's shared memory; this loads TVM.

    Args:
        half: attention works on float16 values, else on codes.

    Raises:
        UnsupportedError: the first such attention, by name.
    """
    for op in model.ops:
        limit = MEMORY.get(type(op))
        if limit is not None:
            limit(model, op, arch, half)
