"""Float parts beside torch's own eager operators on the same slice, one and two threads, turn by turn in one process.

    python -m bench.speed.float_parts                      (figures in bench/results/float_parts.json)

Of each model the part with the most multiply-adds (where none has any, the one with the most operators), with random weights
and inputs, one image. Times are medians in microseconds; `ratio`: ours over torch's. Errors are in units of the largest value.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
import tvm
from torch import Tensor

from bench.common.cells import Cells, Row
from bench.common.run import arguments
from lampq_tvm.frontend.load import load_model
from lampq_tvm.network.macs import part_macs
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.operators.float_part import FloatPart, whole
from lampq_tvm.parts.kernels import Step, part_steps
from lampq_tvm.sources import package_digest
from lampq_tvm.targets import resolve_target

MODELS: dict[str, dict[str, Any]] = {
    "mobilevit_xxs": {},
    "mobilevit_s": {},
    "mobilevitv2_050": {},
    "fastvit_t8": {},
    "levit_128s": {},
    "efficientformer_l1": {},
    "efficientvit_b0": {},
    "pvt_v2_b0": {},
    "vit_small_r26_s32_224": {"depth": 1},
    "xcit_nano_12_p16_224": {"depth": 2},
    "cait_xxs24_224": {"depth": 2},
    "samvit_base_patch16_224": {"depth": 2},
    "coat_lite_tiny": {},
    "twins_svt_small": {"depths": (1, 1, 1, 1)},
    "hiera_tiny_224": {"stages": (1, 1, 1, 1)},
}
CELL = ("model", "threads")
COLUMNS = (*CELL, "operators", "mmacs", "torch_us", "ours_us", "ratio", "error", "kernels")
ROUNDS, SPENT_S = 15, 0.05  # turns of each, and how long one lasts at least


@dataclass(frozen=True)
class Slice:
    """A part with what it reads."""

    part: FloatPart
    constants: dict[str, Tensor]
    inputs: tuple[Tensor, ...]
    macs: int


def heaviest(model: ImportedModel) -> Slice:
    """The part of a model that does most."""
    parts = [op for op in model.ops if isinstance(op, FloatPart)]
    macs = {op.name: sum(part_macs(model, op).values()) for op in parts}
    part = max(parts, key=lambda op: (macs[op.name], len(op.nodes)))
    constants = {field: torch.from_numpy(np.array(value)) for field, value in part.constants(model.tensors).items()}
    torch.manual_seed(0)
    return Slice(part, constants, tuple(torch.randn(whole(sizes, 1)) for sizes in part.ins), macs[part.name])


def ours(found: Slice) -> tuple[Callable[[], None], Any, int]:
    """(a call of the part's kernels, the tensor that they write, their number)."""
    target = resolve_target("host")
    steps: list[Step] = part_steps(found.part.nodes, found.part.ins, found.constants, 1, target.isa)
    functions = {step.name: step.function.with_attr("global_symbol", step.name) for step in steps}
    library = tvm.compile(tvm.IRModule(functions), target=tvm.target.Target(target.tvm))
    values = [tvm.runtime.tensor(x.numpy()) for x in found.inputs]
    calls = []
    for step in steps:
        values.append(tvm.runtime.tensor(np.zeros(step.shape, step.dtype)))
        given = [values[read] if isinstance(read, int) else tvm.runtime.tensor(read) for read in step.reads]
        calls.append((library[step.name], (*given, values[-1])))

    def call() -> None:
        for function, args in calls:
            function(*args)

    return call, values[-1], len(steps)


def seconds(call: Callable[[], object]) -> float:
    """Of one call, in a turn."""
    start, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < SPENT_S:
        call()
        count += 1
    return spent / count


def compared(name: str, threads: int) -> Row:
    """The row of a model."""
    found = heaviest(load_model(name, model_args=MODELS[name]))
    own = {f"{found.part.name}.{field}": value for field, value in found.constants.items()}
    tvm.get_global_func("runtime.config_threadpool")(1, threads)
    torch.set_num_threads(threads)
    call, out, kernels = ours(found)
    with torch.inference_mode():
        theirs = partial(found.part.run, found.inputs, own)
        wanted = theirs().numpy()
        call()
        error = float(np.abs(out.numpy().reshape(wanted.shape) - wanted).max() / np.abs(wanted).max())
        turns = [(seconds(theirs), seconds(call)) for _ in range(ROUNDS)]
    a, b = (1e6 * median(each) for each in zip(*turns, strict=True))
    operators = " ".join(f"{name} {count}" for name, count in found.part.operators.items())
    figures = {"torch_us": round(a, 1), "ours_us": round(b, 1), "ratio": round(b / a, 3), "error": float(f"{error:.1e}")}
    return {"operators": operators, "mmacs": round(found.macs / 1e6, 2), **figures, "kernels": kernels}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "float_parts")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    cells = Cells(args.output, CELL)
    for name in args.models:
        for threads in args.threads:
            made = partial(compared, name, threads)
            row = cells.get({"model": name, "threads": threads}, [package_digest(), MODELS[name]], made)
            print(row, file=sys.stderr, flush=True)
    cells.show(COLUMNS)


if __name__ == "__main__":
    main()
