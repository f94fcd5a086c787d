"""What is joined into one kernel on a GPU: passes over the groups of operators, in this order, one file each.

A pass takes the context and returns the groups as they are after it. Order matters: each sees what those before it joined.
"""

from __future__ import annotations

from collections.abc import Callable

from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group
from lampq_tvm.lower.cuda.passes import gate_codes, gather, norm_after, norm_before, post_norm, turn

Pass = Callable[[CudaContext], tuple[Group, ...]]
PASSES: tuple[Pass, ...] = (
    gather.gather,
    turn.turn,
    norm_before.norm_before,
    norm_after.norm_after,
    post_norm.post_norm,
    gate_codes.gate_codes,
)
