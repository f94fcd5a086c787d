"""A network on a GPU that is not at hand: every kernel on paper, and what it is worth where LayerNorms are made.

    python -m bench.cuda.profile deit_small_patch16_224 --target jetson-agx-orin-64gb --batches 1 8

8 bits throughout, random weights. `in front`: each LayerNorm is made by all blocks of the product after it; `behind`: by the
product before it; `ours`: as lowering chooses for the chip. All figures are estimates (`latency/paper.py`).
"""

from __future__ import annotations

import argparse

from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.cli.output import print_table
from lampq_tvm.latency.paper import Counted, counted, on_paper
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.lower.cuda.passes import norm_before
from lampq_tvm.progress import track
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.targets import Target

WHERE = {"in front": 10**9, "behind": 0, "ours": norm_before.REPEATED}


def kinds(qm: QuantizedModel, target: Target, batch: int, kernels: dict[str, Counted]) -> dict[str, float]:
    """Milliseconds on paper by kind of kernel; `kernels` keeps what was counted."""
    assert target.board is not None
    found: dict[str, float] = {}
    for launch in track(lower_cuda(qm, target.isa, batch).launches, "launches"):
        if launch.kernel not in kernels:
            kernels[launch.kernel] = counted(launch, target)
        ms = on_paper(launch, kernels[launch.kernel], target.board).median_ms
        kind = launch.kernel.split("_")[0]
        found[kind] = found.get(kind, 0) + ms
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--target", default="jetson-agx-orin-64gb")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    options = parser.parse_args()
    pipeline = Pipeline(Options(options.model, target=options.target, calib_images=4))
    qm = quantize(pipeline.calibration, uniform_plan(pipeline.model, 8, 8, 8))
    kernels: dict[str, Counted] = {}
    rows = {}
    for batch in options.batches:
        for where, most in WHERE.items():
            norm_before.REPEATED = most
            rows[batch, where] = kinds(qm, pipeline.target, batch, kernels)
    names = list(dict.fromkeys(kind for row in rows.values() for kind in row))
    table = [[*key, sum(row.values()), *(row.get(name) for name in names)] for key, row in rows.items()]
    print_table(("batch", "LayerNorm", "ms, estimated", *names), table)


if __name__ == "__main__":
    main()
