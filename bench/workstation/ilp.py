"""Time of the integer program on random instances: 200 layers, 7 widths, 3 budgets that all bind; the limit is 1 s each.

python -m bench.workstation.ilp            (figures in bench/results/ilp.json)
"""

from __future__ import annotations

import sys
import time

import numpy as np

from bench.common.run import arguments, finish, machine
from lampq_tvm.allocate.ilp import Row, solve
from lampq_tvm.calibrate.calibration import WIDTHS

LIMIT_S = 1.0
COLUMNS = ("kind", "seed", "layers", "choices", "budgets", "seconds", "cpu_seconds", "loss", "slack_percent")
Instance = tuple[list[np.ndarray], list[Row]]


def instance(layers: int, pairs: list[tuple[int, int]], seed: int, tightness: float) -> Instance:
    """Losses that fall fourfold per bit, as sensitivity gives them, and three costs: average bits, bytes and milliseconds.

    Args:
        pairs: the choices (w, a) of every layer.
        tightness: where each limit lies between the least and the greatest total.
    """
    rng = np.random.default_rng(seed)
    params = rng.choice([192, 384, 768, 1024], layers) * rng.choice([64, 192, 384, 768, 3072], layers)
    w, a = (np.array([pair[i] for pair in pairs], float) for i in (0, 1))
    weight, act = np.exp(rng.normal(0, 2, (2, layers)))
    loss = [x * 4.0**-w + y * 4.0**-a for x, y in zip(weight, act, strict=True)]
    # Times do not follow the widths: some widths share a kernel and some unpack slowly.
    speed = rng.uniform(0.5, 1.5, len(pairs))
    costs = [
        [n * w for n in params.astype(float)],
        [n * a for n in params.astype(float)],
        [1e-6 * n * (2 + w * a / 32) * speed * rng.uniform(0.9, 1.1, len(pairs)) for n in params],
    ]
    rows = []
    for cost in costs:
        least, most = sum(c.min() for c in cost), sum(c.max() for c in cost)
        rows.append(Row(cost, float(least + tightness * (most - least))))
    return loss, rows


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "ilp")
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=8)
    args = parser.parse_args()
    facts, rows = machine(), []
    kinds = {"tied": [(b, b) for b in WIDTHS], "separate": [(w, a) for w in WIDTHS for a in WIDTHS]}
    for kind, pairs in kinds.items():
        for seed in range(args.seeds):
            loss, limits = instance(args.layers, pairs, seed, 0.25 + 0.1 * (seed % 5))
            start = np.array([time.perf_counter(), time.process_time()])
            choice = solve(loss, limits)
            seconds, cpu = (np.array([time.perf_counter(), time.process_time()]) - start).tolist()
            if choice is None:
                sys.exit(f"ilp: {kind}, seed {seed}: no solution, though each limit alone can be met")
            slack = [100 * (1 - row.total(choice) / row.limit) for row in limits]
            row = {"kind": kind, "seed": seed, "layers": args.layers, "choices": len(pairs), "budgets": len(limits)}
            total = float(sum(x[p] for x, p in zip(loss, choice, strict=True)))
            slacks = [round(s, 3) for s in slack]
            rows.append(row | {"seconds": seconds, "cpu_seconds": cpu, "loss": total, "slack_percent": slacks})
    worst = max(row["seconds"] for row in rows if row["kind"] == "tied")
    finish(args.output, COLUMNS, rows, machine=facts, limit_s=LIMIT_S, worst_s=worst)
    print(f"slowest of {args.layers} layers x {len(WIDTHS)} widths x 3 budgets: {worst:.2f} s (limit {LIMIT_S:g} s)")


if __name__ == "__main__":
    main()
