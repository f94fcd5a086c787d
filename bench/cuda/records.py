"""Makes records of what `bench/cuda/check.py candidates` timed where there was a GPU: default sizes beside tuned ones.

    python -m bench.cuda.records TIMED --arch sm_90 --device "NVIDIA H200"          (the table)
    python -m bench.cuda.records TIMED --arch sm_90 --device "NVIDIA H200" --ship   (records into schedules/ too)

TIMED holds a line of JSON per candidate. Sizes must gain 2 % on the default ones, which must have been timed too, to be
recorded, and a candidate that gave a wrong byte is none.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from lampq_tvm.cli.output import print_table
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape, with_warps
from lampq_tvm.kernels.cuda.levels import mma_for
from lampq_tvm.kernels.cuda.tiles import default_tiles, tiles_of
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind
from lampq_tvm.records.cuda import CudaRecord
from lampq_tvm.resources import data_dir

PRODUCT = re.compile(r"([a-z]+)_m(\d+)_n(\d+)_k(\d+)(?:_p(\d+))?(?:_normed)?_(s8|w4a8|s4|f16)")
ATTENTION = re.compile(r"attention_i(\d+)_t(\d+)_h(\d+)x(\d+)")
WIDTHS = {"s8": (8, 8), "w4a8": (4, 8), "s4": (4, 4), "f16": (Kind.FLOAT16, Kind.FLOAT16)}
CLEARLY = 0.02  # what tuned sizes must gain
COLUMNS = ("kernel", "default", "us", "tuned", "us", "speedup", "candidates", "failed")
Row = dict[str, Any]


def kernels(path: Path) -> dict[str, list[Row]]:
    """Candidates by kernel, in their order."""
    found: dict[str, list[Row]] = {}
    for line in path.read_text().splitlines():
        if line.startswith('{"what"'):
            row = json.loads(line)
            found.setdefault(row["what"], []).append(row)
    return {kernel: rows for kernel, rows in found.items() if not kernel.startswith("norm")}


def sizes_of(kernel: str, key: str) -> dict[str, int]:
    """A candidate's sizes as a record has them."""
    if kernel.startswith("attention"):
        return dict(zip(("row_warps", "key_warps"), map(int, key.split("x")), strict=True))
    return dataclasses.asdict(tiles_of(key))


def default_key(kernel: str, arch: str) -> str:
    """Sizes without a record."""
    found = ATTENTION.fullmatch(kernel)
    if found is not None:
        shape = with_warps(CudaAttentionShape(*map(int, found.groups())))
        return f"{shape.row_warps}x{shape.key_warps}"
    found = PRODUCT.fullmatch(kernel)
    if found is None:
        raise ValueError(f"{kernel!r} names no kernel")
    rows, n, k, period = (int(x or 0) for x in found.group(2, 3, 4, 5))
    return default_tiles(ProductShape(rows, n, k, found[1], period), mma_for(*WIDTHS[found[6]], arch)).key


def record(kernel: str, rows: list[Row], arch: str, device: str) -> CudaRecord | None:
    """The record of a kernel, None where the default sizes were not timed or wrong."""
    right = [row for row in rows if row["differ"] in (0, "not checked")]
    times = {row["tiles"]: 1e3 * row["median_ms"] for row in right}
    default = default_key(kernel, arch)
    if default not in times:
        return None
    best = min(times, key=lambda key: times[key])
    best = best if times[best] < (1 - CLEARLY) * times[default] else default
    return CudaRecord(
        arch=arch,
        kernel=kernel,
        sizes=sizes_of(kernel, best),
        us=times[best],
        default_us=times[default],
        device=device,
        trials=len(rows),
        failed=len(rows) - len(right),
        history=times,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("timed", type=Path)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--device", required=True, help="what timed them")
    parser.add_argument("--ship", action="store_true", help="records into schedules/")
    args = parser.parse_args()
    table = []
    for kernel, rows in kernels(args.timed).items():
        found = record(kernel, rows, args.arch, args.device)
        if found is None:
            continue
        best = min(found.history, key=lambda key: abs(found.history[key] - found.us))
        speedup = f"{found.default_us / found.us:.2f}"
        times = (f"{found.default_us:.2f}", best, f"{found.us:.2f}")
        table.append([kernel, default_key(kernel, args.arch), *times, speedup, found.trials, found.failed])
        if args.ship and found.us < found.default_us:
            found.save(data_dir("schedules"))
    print_table(list(COLUMNS), table)


if __name__ == "__main__":
    main()
