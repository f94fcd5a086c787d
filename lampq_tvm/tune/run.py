"""`lampq tune`: every kernel of a network that has sizes to choose, one search each, one record each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from lampq_tvm.compiler.toolchain import toolchain
from lampq_tvm.device.kind import Device
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import UsageError
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import Kernel
from lampq_tvm.lower.module import lower_calls
from lampq_tvm.progress import note, track
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.records.cpu import Record, Records, read_record
from lampq_tvm.sources import libraries, library_version, source_digest
from lampq_tvm.store import digest
from lampq_tvm.targets import Target
from lampq_tvm.tune.bench import Measuring
from lampq_tvm.tune.counting import Counting
from lampq_tvm.tune.log import TrialLog, open_log

# What a trial's outcome depends on, and what a search's does besides: modules, with all that they import.
TRIES = ("kernels.tunable", "tune.bench", "tune.case")
COUNTS = ("tune.counting",)
SEARCHES = ("tune.search",)


def tune(
    qm: QuantizedModel,
    target: Target,
    *,
    trials: int,
    device: Device | None = None,
    batch: int = 1,
    threads: int | None = None,
    seed: int = 0,
    database: Path,
) -> Path:
    """Search for fast sizes of every kernel of a network; goes on where it stopped.

    Args:
        qm: the network.
        target: what to compile for.
        trials: candidates per kernel, the default schedule among them.
        device: where they are measured, or where a board is played, their cycles estimated; this machine where None.
        batch: images per call.
        threads: cores that candidates are timed on; all where None. Counts are one core's.
        seed: of the search.
        database: folder that takes records and trial logs.

    Returns:
        The database.

    Raises:
        DeviceError: the device cannot be reached, or the default schedule does not run there.
        GateError: the default schedule's output is wrong.
        OutputError: the database is not writable.
    """
    kernels = tunable_kernels(qm, target.isa, batch)
    return tune_kernels(kernels, target, trials=trials, device=device, threads=threads, seed=seed, database=database)


def tune_kernels(
    kernels: Iterable[Kernel],
    target: Target,
    *,
    trials: int,
    device: Device | None = None,
    threads: int | None = None,
    seed: int = 0,
    database: Path,
) -> Path:
    """Like `tune`, for kernels at hand."""
    if trials < 1:
        raise UsageError(f"{trials} trials", where="trials", hint="give 1 or more")
    device = device or find_device()
    judges = Counting(target, device) if device.times.counted else Measuring(target, device, threads)
    with device.alone(), judges as measuring:
        identity = _identity(measuring)
        for kernel in track(list(kernels), "tuning"):
            with open_log(database / "log" / kernel.isa / f"{kernel.key}.jsonl") as log:
                tune_kernel(kernel, measuring, log, identity, trials, seed, database)
    return database


def _identity(measuring: Measuring) -> str:
    """Of compiler, target and device: trials of another one are not taken. Counts are the same on every machine."""
    counted = isinstance(measuring, Counting)
    threads = measuring.threads or os.environ.get("TVM_NUM_THREADS", measuring.target.cores)
    place = [] if counted else [threads, measuring.device.identity(measuring.target)]
    runs = (*TRIES, *COUNTS) if counted else TRIES
    code = [source_digest(*runs), libraries(*runs), toolchain(measuring.target)]
    return digest(code, measuring.target.tvm, measuring.judged.model_dump(), place)[:16]


def tune_kernel(
    kernel: Kernel, measuring: Measuring, log: TrialLog, identity: str, trials: int, seed: int, database: Path
) -> Record:
    """The record of one kernel, from the database where this very search was finished before."""
    code = digest(source_digest(*SEARCHES), libraries(*SEARCHES), library_version("xgboost"))[:16]  # TVM's cost model uses it
    finished = {"identity": identity, "phase": "finished", "code": code, "seed": seed, "trials": trials}
    record = read_record(database, kernel.isa, kernel.key) if log.find(**finished) else None
    if record is not None and (record.seed, record.judged) == (seed, measuring.judged):
        return record
    from lampq_tvm.tune.search import Search

    search = Search(kernel, measuring, log, identity, seed, Records(database)(kernel))
    start = time.monotonic()
    for _ in track(search.run(trials), kernel.key, trials):
        pass
    record = search.record()
    record.save(database)
    log.add(finished)
    seconds = (time.monotonic() - start) / max(1, record.trials)
    failed = f"{record.failed} of {record.trials} failed" if record.failed else f"{record.trials} candidates"
    gain = f"{record.default_cost:.6g} -> {record.cost:.6g} {record.unit} ({record.default_cost / record.cost:.2f}x)"
    note(f"{kernel.isa}/{kernel.key}: {gain}, {failed}, {seconds:.2f} s each")
    return record


def tunable_kernels(qm: QuantizedModel, isa: str, batch: int) -> list[Kernel]:
    """The distinct kernels of a network that have sizes to choose, in the order of their use."""
    found: dict[str, Kernel] = {}

    def collect(kernel: Kernel) -> Tiles | None:
        found.setdefault(kernel.key, kernel)
        return None

    lower_calls(qm, isa, batch, collect)
    return list(found.values())
