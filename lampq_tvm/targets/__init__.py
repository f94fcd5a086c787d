"""What can be compiled for: boards as files, this machine, and what a name given to `--target` means."""

from lampq_tvm.targets.board import Board, Gpu, boards, find_board
from lampq_tvm.targets.machine import check_runs_here, local_arch, local_features
from lampq_tvm.targets.target import FEATURES, GENERIC, LEVELS, TRIPLES, Target, cuda_levels, resolve_target

__all__ = [
    "FEATURES",
    "GENERIC",
    "LEVELS",
    "TRIPLES",
    "Board",
    "Gpu",
    "Target",
    "boards",
    "check_runs_here",
    "cuda_levels",
    "find_board",
    "local_arch",
    "local_features",
    "resolve_target",
]
