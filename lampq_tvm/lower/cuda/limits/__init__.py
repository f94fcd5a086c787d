"""What of a model's operators has no CUDA kernel: one file a kind of operator, whose rules are found by its class.

Rules know the imported model alone, and importing them loads no compiler.

    SIZES   what has no kernel on any GPU, in words, or None: (operator)
    MEMORY  UnsupportedError where it does not fit into a GPU's shared memory: (model, operator, arch, half), `half` where
            attention works on float16 values, else on codes; loads TVM
"""

from __future__ import annotations

from collections.abc import Callable

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

HEAD_STEP = 4  # channels of a head come in whole words of codes
LARGEST_POOLED = 256  # channels of a pooling head: a thread for each word of them

SIZES: Registry[type, Callable[..., str | None]] = Registry("limit of sizes", __name__, UnsupportedError)
MEMORY: Registry[type, Callable[..., None]] = Registry("limit of shared memory", __name__, UnsupportedError)
