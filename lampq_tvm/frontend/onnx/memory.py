"""Runs operators in bounded memory: each torch call is first made on tensors without data, which says what its result takes."""

from __future__ import annotations

from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lampq_tvm.errors import UnsupportedError

MAX_BYTES = 1 << 30  # of one result, beyond twice what the file holds


class Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it no torch call makes a result of more than `limit_bytes`.

    Raises:
        UnsupportedError: a result would be larger.
    """

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit_bytes = limit_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        size = _result_bytes(func, args, kwargs)
        if size > self.limit_bytes:
            raise UnsupportedError(f"a result of {size} bytes, more than the {self.limit_bytes} that are allowed")
        return func(*args, **kwargs)


def _result_bytes(func: Any, args: Any, kwargs: Any) -> int:
    """Bytes of a call's results; 0 where they depend on values, or where the call fails anyway."""
    leaves = pytree.tree_leaves((args, kwargs))
    if any(isinstance(leaf, Tensor) and leaf.device.type != "cpu" for leaf in leaves):
        return 0
    try:
        without_data, options = pytree.tree_map(_without_data, (args, kwargs))
        if "device" in options or not any(isinstance(leaf, Tensor) for leaf in leaves):
            options = {**options, "device": torch.device("meta")}
        results = func(*without_data, **options)
    except Exception:  # no such kernel without data, or the call fails with them too
        return 0
    return max((r.numel() * r.element_size() for r in pytree.tree_leaves(results) if isinstance(r, Tensor)), default=0)


def _without_data(leaf: Any) -> Any:
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta") if isinstance(leaf, Tensor) else leaf
