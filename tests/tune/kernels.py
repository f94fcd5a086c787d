"""Kernels small enough to tune in a test, on this machine's own level and on AVX2."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tvm

from lampq_tvm.kernels.attention import AttentionShape
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.tunable import AttentionKernel, Kernel, LayerNormKernel, ProductKernel
from lampq_tvm.levels import CPU_ARCHES, CPU_LEVELS, levels_of
from lampq_tvm.records.cpu import Record
from lampq_tvm.targets import Target, level_target, local_arch
from lampq_tvm.tune.case import make_case
from tests.boards import runs_here
from tests.kept import kernels_library

SMALL = ProductShape(18, 48, 40, "codes")


def levels() -> list[str]:
    """Instruction set levels that this machine runs."""
    return [level.name for level in levels_of(CPU_ARCHES[local_arch()]) if runs_here(level.name)]


def target(isa: str) -> Target:
    return level_target(CPU_LEVELS[isa])


def run_all(built: list[tuple[Kernel, object]], isa: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(expected, got) of kernels with tiles, compiled together."""
    functions = {f"f{i}": k.build(tiles).with_attr("global_symbol", f"f{i}") for i, (k, tiles) in enumerate(built)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.so"
        path.write_bytes(kernels_library(tvm.IRModule(functions), target(isa)))
        module = tvm.runtime.load_module(str(path))
    pairs = []
    for i, (kernel, _) in enumerate(built):
        case = make_case(kernel)
        out = tvm.runtime.tensor(np.full_like(case.expected, 77))
        module[f"f{i}"](*map(tvm.runtime.tensor, case.arguments), out)
        pairs.append((case.expected, out.numpy()))
    return pairs


def kernel_of(record: Record) -> Kernel:
    """A kernel that the record is for, at the first widths with its key."""
    return next(kernel for kernel in _candidates(record.kernel, record.isa) if kernel.key == record.kernel)


def _candidates(key: str, isa: str) -> Iterator[Kernel]:
    """Kernels of the sizes in a key."""
    widths = range(8, 1, -1)
    if match := re.match(r"attention_b(\d+)_t(\d+)_h(\d+)_d(\d+)(?:_g(\d+))?_", key):
        shape = AttentionShape(*(int(x or 0) for x in match.groups()))
        yield from (AttentionKernel(shape, isa, bits) for bits in widths)
    elif match := re.fullmatch(r"layernorm_([a-z]+)_r(\d+)_c(\d+)_e(\w+)", key):
        eps = float(match[4].replace("m", "-").replace("p", "."))
        yield LayerNormKernel(int(match[2]), int(match[3]), eps, match[1] == "codes", isa)
    elif match := re.match(r"([a-z]+)_m(\d+)_n(\d+)_k(\d+)(?:_p(\d+))?_", key):
        m, n, k, period = (int(x or 0) for x in match.groups()[1:])
        shape = ProductShape(m, n, k, match[1], period)
        yield from (ProductKernel(shape, isa, w, a) for w in widths for a in widths)
