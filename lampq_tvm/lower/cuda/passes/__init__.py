"""What is joined into one kernel on a GPU: passes over the groups of operators, in this order, one file each.

A pass takes the context and returns the groups as they are after it. Order matters: each sees what those before it joined.
"""

from __future__ import annotations

from collections.abc import Callable

from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group
from lampq_tvm.lower.cuda.passes.gate_codes import gate_codes
from lampq_tvm.lower.cuda.passes.gather import gather
from lampq_tvm.lower.cuda.passes.norm_after import norm_after
from lampq_tvm.lower.cuda.passes.norm_before import norm_before
from lampq_tvm.lower.cuda.passes.post_norm import post_norm
from lampq_tvm.lower.cuda.passes.turn import turn

Pass = Callable[[CudaContext], tuple[Group, ...]]
PASSES: tuple[Pass, ...] = (gather, turn, norm_before, norm_after, post_norm, gate_codes)
