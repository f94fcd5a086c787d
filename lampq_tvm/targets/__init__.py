"""What can be compiled for: boards as files, this machine, and what a name given to `--target` means."""

from lampq_tvm.targets.board import Board, Gpu, boards, find_board
from lampq_tvm.targets.machine import check_runs_here, local_arch, local_features
from lampq_tvm.targets.target import Target, cuda_levels, level_target, resolve_target

__all__ = [
    "Board",
    "Gpu",
    "Target",
    "boards",
    "check_runs_here",
    "cuda_levels",
    "find_board",
    "level_target",
    "local_arch",
    "local_features",
    "resolve_target",
]
