"""Kernels small enough to tune in a test, on this machine's own level and on AVX2."""

import dataclasses
import re

import numpy as np
import tvm

from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.product import build_product
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.targets import FEATURES, GENERIC, LEVELS, Target, local_features, resolve_target
from lampq_tvm.tune.case import make_case
from lampq_tvm.tune.records import Record, kernel_key
from lampq_tvm.tune.space import Kernel

SMALL = ProductShape(18, 48, 40, "codes")


def levels() -> list[str]:
    """Instruction set levels that this machine runs."""
    return [isa for isa in LEVELS[resolve_target("host").kind] if set(FEATURES[isa]) <= local_features()]


def target(isa: str) -> Target:
    host = resolve_target("host")
    mcpu, mattr = GENERIC[isa]
    return dataclasses.replace(host, isa=isa, tvm={**host.tvm, "mcpu": mcpu, "mattr": list(mattr)}, features=FEATURES[isa])


def run_all(built: list[tuple[Kernel, object]], isa: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(expected, got) of kernels with tiles, compiled together."""
    functions = {
        f"f{i}": build_product(k.shape, k.isa, k.w_bits, k.a_bits, tiles).with_attr("global_symbol", f"f{i}")
        for i, (k, tiles) in enumerate(built)
    }
    module = tvm.compile(tvm.IRModule(functions), target=tvm.target.Target(target(isa).tvm))
    pairs = []
    for i, (kernel, _) in enumerate(built):
        case = make_case(kernel)
        out = tvm.runtime.tensor(np.full_like(case.expected, 77))
        module[f"f{i}"](*map(tvm.runtime.tensor, case.arguments), out)
        pairs.append((case.expected, out.numpy()))
    return pairs


def kernel_of(record: Record) -> Kernel:
    """A kernel that the record is for, at the first widths with its step."""
    match = re.fullmatch(r"([a-z]+)_m(\d+)_n(\d+)_k(\d+)(?:_p(\d+))?_\w+", record.kernel)
    assert match is not None, record.kernel
    epilogue, (m, n, k, period) = match[1], (int(x or 0) for x in match.groups()[1:])
    shape = ProductShape(m, n, k, epilogue, period)
    widths = [(w, a) for w in range(8, 1, -1) for a in range(8, 1, -1)]
    w_bits, a_bits = next(p for p in widths if kernel_key(shape, dot_for(record.isa, *p)) == record.kernel)
    return Kernel(shape, record.isa, w_bits, a_bits)
