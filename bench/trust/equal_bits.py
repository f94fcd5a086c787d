"""Equal bits: every operator's values and the logits of compiled artifacts against the torch reference, on host and boards.

    python -m bench.trust.equal_bits            (figures in bench/results/equal_bits.json)

Plans: uniform 8 and 4 bits, and a mixed one (weights and activations of 2 to 8 bits, attention at 4 with log-sqrt2 codes) of
the shipped Fashion-MNIST model. On the host with one and two threads, default and other tiles, batches of 1 and 8; on the
emulated boards with default tiles. Ends with exit code 6 and the first layer that differs where a single bit does. Finished
cases are kept in --work, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bench.common.bits import EXIT_GATE, digests
from bench.common.plans import paired_plan
from bench.common.run import Pieces, arguments, finish, machine
from bench.common.sample import MODEL, model_options, test_sample
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.artifact.container import Artifact
from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.compiler.build import build
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import Kernel
from lampq_tvm.lower.module import default_schedules
from lampq_tvm.progress import track
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.runtime.runner import Runner
from lampq_tvm.store import digest
from lampq_tvm.targets import resolve_target

MIXED = [(4, 8), (8, 4), (3, 6), (6, 3), (2, 7), (7, 2), (5, 5), (4, 4), (3, 3), (8, 8), (2, 4)]
COLUMNS = ("plan", "where", "schedule", "threads", "images", "values", "differ")


def other_tiles(kernel: Kernel) -> Tiles:
    """Sizes that are nobody's default."""
    most = kernel.largest
    return Tiles(min(3, most.rows), min(2, most.vectors), min(2, most.group), 3)


@dataclass(frozen=True)
class Case:
    """One artifact in one place."""

    target: str
    device: str
    schedule: str
    batch: int
    threads: tuple[int | None, ...]

    @property
    def name(self) -> str:
        """Short text that names the case in files."""
        return f"{self.target}-{self.schedule.replace(' ', '-')}-b{self.batch}"


def cases(targets: list[str]) -> Iterator[Case]:
    """The host's ways, then the boards."""
    for schedule, batch in (("default tiles", 1), ("other tiles", 1), ("default tiles", 8)):
        yield Case("host", "local", schedule, batch, (1, 2))
    for target in targets:
        yield Case(target, "emulated", "default tiles", 1, (None,))


@dataclass
class Reference:
    """Digests of the reference's values by operator, so that a chunk is worked out once and nothing large is kept."""

    qm: QuantizedModel
    known: dict[tuple[int, int], tuple[dict[str, str], int]] = field(default_factory=dict)

    def __call__(self, images: np.ndarray, start: int, stop: int) -> tuple[dict[str, str], int]:
        """(digest by operator, number of values) of images start..stop."""
        if (start, stop) not in self.known:
            values = run_reference(self.qm, images[start:stop], values=True)
            self.known[start, stop] = digests(values), sum(array.size for array in values.values())
        return self.known[start, stop]


def compare(reference: Reference, runner: Runner, images: np.ndarray, chunk: int, label: str) -> dict[str, Any]:
    """How many values are equal, and the first operator whose values are not; memory is bounded by the chunk."""
    qm, values = reference.qm, 0
    for start in track(range(0, len(images), chunk), label):
        stop = min(start + chunk, len(images))
        wanted, count = reference(images, start, stop)
        found = digests(runner.trace(images[start:stop]))
        differ = next((op.name for op in qm.ops if found.get(op.name) != wanted[op.name]), None)
        if differ is None and digest(runner(images[start:stop])) != wanted[qm.output]:
            differ = f"{qm.output} (without trace)"
        if differ is not None:
            return {"values": values, "differ": differ}
        values += count
    return {"values": values, "differ": None}


def run_case(reference: Reference, case: Case, images: np.ndarray, chunk: int) -> list[dict[str, Any]]:
    """One row for each number of threads; the artifact is built once."""
    tiles = other_tiles if case.schedule == "other tiles" else default_schedules
    sections, manifest = build(reference.qm, resolve_target(case.target), batch=case.batch, tiles=tiles)
    artifact, rows = Artifact(manifest, sections, sum(map(len, sections.values()))), []
    for threads in case.threads:
        runner = Runner(artifact, case.device, threads)
        found = compare(reference, runner, images, chunk, f"{case.name}, {threads or 'all'} threads")
        rows.append({"threads": threads, "images": len(images), **found})
    return rows


def networks(calib_images: int) -> dict[str, QuantizedModel]:
    """The integer networks by the name of their plan."""
    pipeline = Pipeline(Options(MODEL, calib_images=calib_images, **model_options()))
    plans = {f"{bits}bit": uniform_plan(pipeline.model, bits, bits) for bits in (8, 4)}
    plans["mixed"] = paired_plan(pipeline.model, MIXED, attention_bits=4, softmax="log_sqrt2")
    return {name: quantize(pipeline.calibration, plan) for name, plan in plans.items()}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "equal_bits")
    parser.add_argument("--images", type=int, default=2000, help="compared on the host")
    parser.add_argument("--board-images", type=int, default=200, help="compared on each board")
    parser.add_argument("--targets", nargs="*", default=["raspberry-pi-5", "raspberry-pi-4"])
    parser.add_argument("--calib-images", type=int, default=512)
    parser.add_argument("--chunk", type=int, default=100, help="images in memory at once")
    args = parser.parse_args()
    facts, pieces, rows = machine(), Pieces(args.work, args.calib_images), []
    for plan, qm in networks(args.calib_images).items():
        reference = Reference(qm)
        for case in cases(args.targets):
            images = test_sample(args.images if case.device == "local" else args.board_images)[0]
            run = partial(run_case, reference, case, images, args.chunk)
            start = time.perf_counter()
            found = pieces.get(f"{plan}-{case.name}", run, len(images))
            print(f"{plan} on {case.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            shared = {"plan": plan, "where": case.target, "schedule": f"{case.schedule}, batch {case.batch}"}
            rows += [shared | row for row in found]
            for row in found:
                if row["differ"] is not None:
                    what = f"{row['differ']} differs from the reference"
                    print(f"equal_bits: {plan} on {case.name}, {row['threads']} threads: {what}", file=sys.stderr)
                    sys.exit(EXIT_GATE)
    finish(args.output, COLUMNS, [row | {"differ": 0} for row in rows], machine=facts)


if __name__ == "__main__":
    main()
