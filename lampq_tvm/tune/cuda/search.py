"""`lampq tune` on a GPU: candidates in the order that a cost model hopes for, each compared with the oracle, then timed.

Nothing depends on the clock or on chance but the times, and those are in a log: a search that was killed proposes the same
candidates again, takes their times from there and goes on.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.compiler.cuda.build import CompiledKernel, compile_kernels
from lampq_tvm.compiler.toolchain import toolchain
from lampq_tvm.device.clocks import clock_mhz
from lampq_tvm.device.cuda.gpu import Gpu
from lampq_tvm.errors import DeviceError, GateError, LampqError, OutputError, UnsupportedError
from lampq_tvm.lower.cuda.launch import Launch, Value
from lampq_tvm.progress import note, track
from lampq_tvm.records.cuda import CudaRecord
from lampq_tvm.sources import libraries, source_digest
from lampq_tvm.store import digest
from lampq_tvm.targets import Target
from lampq_tvm.tune.cuda.case import CudaCase
from lampq_tvm.tune.cuda.tunable import Candidate, Tunable
from lampq_tvm.tune.log import TrialLog, open_log

BATCH = 8  # candidates that are proposed at a time
WARM_UP = 12  # times before the cost model is trusted
REPEATS, SAMPLES, FINAL_SAMPLES = 20, 9, 41  # launches of a sample, samples of a candidate and of a finalist
FINALISTS = 4
CLEARLY = 0.02  # what tuned sizes must gain on the default ones
TRIES = ("device.cuda.driver", "tune.cuda.search")  # what a trial's outcome depends on, with all that they import
NOWHERE = ("out", Value("x", 1, 1, "float32"))
Costs = dict[str, float | None]  # microseconds by label, None where a candidate failed


def tune_cuda(
    kernels: Sequence[Tunable], target: Target, open_gpu: Callable[[], Gpu], *, trials: int, seed: int = 0, database: Path
) -> Path:
    """Search for fast sizes of kernels; a record each.

    Args:
        open_gpu: opens the device; a candidate that leaves it broken costs itself alone.
        trials: candidates per kernel, the default ones among them.
        database: folder that takes records and trial logs.

    Raises:
        DeviceError: there is no such device, or default sizes cannot be built or run.
        GateError: default sizes give a wrong output.
        UnsupportedError: the target's compiler is not installed.
    """
    gpu = open_gpu()
    name = gpu.name
    gpu.close()
    code = [source_digest(*TRIES), libraries(*TRIES), toolchain(target)]
    identity = digest(code, name, target.isa, target.cuda_major)[:16]
    for kernel in track(list(kernels), "tuning"):
        with open_log(database / "log" / target.isa / f"{kernel.key}.jsonl") as log:
            search = _Search(kernel, target, open_gpu, log, identity)
            record = search.run(trials, seed, name)
            record.save(database)
            note(f"{target.isa}/{kernel.key}: {record.default_us:.2f} -> {record.us:.2f} us ({record.trials} candidates)")
    return database


class _Search:
    """The search for one kernel."""

    def __init__(self, kernel: Tunable, target: Target, open_gpu: Callable[[], Gpu], log: TrialLog, identity: str) -> None:
        self.kernel, self.target, self.open_gpu, self.log, self.identity = kernel, target, open_gpu, log, identity
        self.candidates = {candidate.label: candidate for candidate in kernel.candidates()}
        self.default = next(iter(self.candidates))
        self.costs: Costs = {}

    def run(self, trials: int, seed: int, device: str) -> CudaRecord:
        """Try candidates, then time the best ones and the default in turns."""
        self._cost(self.default)
        while len(self.costs) < min(trials, len(self.candidates)):
            rest = min(BATCH, trials - len(self.costs))
            for label in propose(self.candidates, self.costs, rest, seed):
                self._cost(label)
        return self._record(device)

    def _cost(self, label: str) -> float | None:
        """Microseconds of a candidate, None where it fails; from the log where it is known.

        Raises:
            GateError, DeviceError: the default sizes fail, which is no candidate's fault and is not remembered.
        """
        fields = {"identity": self.identity, "phase": "search", "tiles": label}
        trial = self.log.find(**fields)
        if trial is None:
            found = self._try(self.candidates[label])
            if label == self.default and found["outcome"] != "exact":
                error = GateError if found["outcome"] == "wrong" else DeviceError
                why = ": ".join(found[name] for name in ("outcome", "why") if name in found)
                raise error(f"the default sizes fail ({why})", where=self.kernel.key, hint="please report this")
            trial = self.log.add({**fields, **found})
        self.costs[label] = trial.get("us")
        return self.costs[label]

    def _try(self, candidate: Candidate) -> dict[str, Any]:
        """Outcome of a candidate: `exact` with its microseconds, else `build`, `wrong` or `crash`.

        Raises:
            UnsupportedError: nothing can be compiled here, which is no candidate's fault.
        """
        try:
            kernel = self._build(candidate)
        except (UnsupportedError, OutputError):
            raise
        except (LampqError, RuntimeError, ValueError) as e:
            return {"outcome": "build", "why": (str(e).strip().splitlines() or [type(e).__name__])[-1][:200]}
        found = self._judge(kernel, candidate)
        return self._judge(kernel, candidate) if found["outcome"] == "crash" else found  # other programs use the device too

    def _judge(self, kernel: CompiledKernel, candidate: Candidate) -> dict[str, Any]:
        """Outcome of a kernel on a device of its own."""
        gpu = self.open_gpu()
        try:
            run, right = prepare(gpu, kernel, candidate.case())
            if not right:
                return {"outcome": "wrong"}
            return {"outcome": "exact", "us": round(float(np.median([run() for _ in range(SAMPLES)])), 4)}
        except DeviceError as e:
            return {"outcome": "crash", "why": str(e)[:200]}
        finally:
            gpu.close()

    def _build(self, candidate: Candidate) -> CompiledKernel:
        launch = Launch("candidate", candidate.build, {}, {}, NOWHERE)
        return compile_kernels([launch], self.target.isa, self.target.cuda_major or 0)["candidate"]

    def _record(self, device: str) -> CudaRecord:
        able = sorted((us, label) for label, us in self.costs.items() if us is not None and label != self.default)
        finalists = [self.default, *(label for _, label in able[: FINALISTS - 1])]
        fields = {"identity": self.identity, "phase": "final", "tiles": finalists}
        trial = self.log.find(**fields) or self.log.add({**fields, **self._final(finalists)})
        times = dict(zip(finalists, trial["us"], strict=True))
        best = min(times, key=lambda label: times[label])
        best = best if times[best] < (1 - CLEARLY) * times[self.default] else self.default
        return CudaRecord(
            arch=self.target.isa,
            kernel=self.kernel.key,
            sizes=self.candidates[best].sizes,
            us=times[best],
            default_us=times[self.default],
            device=device,
            clocks_mhz=trial.get("clocks_mhz"),
            trials=len(self.costs),
            failed=sum(us is None for us in self.costs.values()),
            history={label: us for label, us in self.costs.items() if us is not None},
        )

    def _final(self, finalists: Sequence[str]) -> dict[str, Any]:
        """Microseconds of each, and the clock that they ran at where it can be read."""
        gpu = self.open_gpu()
        try:
            chosen = [self.candidates[label] for label in finalists]
            runs = [prepare(gpu, self._build(candidate), candidate.case())[0] for candidate in chosen]
            samples = [[run() for run in runs] for _ in range(FINAL_SAMPLES)]  # in turns: a disturbance hits all
            clock = clock_mhz(gpu.clocks())
            found = {"us": [round(float(x), 4) for x in np.median(samples, 0)]}
            return found if clock is None else {**found, "clocks_mhz": clock}
        finally:
            gpu.close()


def prepare(gpu: Gpu, kernel: CompiledKernel, case: CudaCase) -> tuple[Callable[[], float], bool]:
    """(how to time a launch among others of its kind, in microseconds; whether one gave the oracle's bytes)."""
    addresses = []
    for name in kernel.params:
        addresses.append(gpu.allocate(max(1, case.buffers[name].nbytes)))
        gpu.upload(addresses[-1], np.ascontiguousarray(case.buffers[name]))
    how = (kernel.kernel.grid, kernel.kernel.block, kernel.kernel.shared_bytes)
    launch = functools.partial(gpu.launch, gpu.function(gpu.load(kernel.cubin), kernel.entry, how[2]), *how, addresses)
    launch()
    out = case.buffers["out"]
    found = gpu.download(addresses[kernel.params.index("out")], out.nbytes).reshape(len(out), -1)[:, : case.used]
    right = bool((found == case.expected).all())

    def many() -> None:
        for _ in range(REPEATS):
            launch()

    graph = gpu.capture(many)
    return lambda: 1e6 * gpu.seconds(lambda: gpu.replay(graph)) / REPEATS, right


def propose(candidates: Mapping[str, Candidate], costs: Costs, count: int, seed: int) -> list[str]:
    """Candidates to try next: at random until enough is known, then those that a model of boosted trees finds best.

    The model learns log times from the sizes (Chen and Guestrin, XGBoost, 2016); one in four stays random, for what it
    does not know yet.
    """
    rng = random.Random(seed * 1_000_003 + len(costs))
    rest = [label for label in candidates if label not in costs]
    known = {label: us for label, us in costs.items() if us is not None}
    drawn = rng.sample(rest, min(count, len(rest)))
    if len(known) < WARM_UP:
        return drawn
    import xgboost

    def table(labels: Iterable[str]) -> np.ndarray:
        return np.array([candidates[label].features for label in labels])

    learned = xgboost.DMatrix(table(known), label=np.log(list(known.values())))
    model = xgboost.train({"max_depth": 4, "eta": 0.1, "seed": seed, "nthread": 1}, learned, num_boost_round=120)
    hoped = model.predict(xgboost.DMatrix(table(rest)))
    best = [rest[i] for i in np.argsort(hoped, kind="stable")]
    kept = drawn[: max(1, count // 4)]
    return [*kept, *(label for label in best if label not in kept)][: min(count, len(rest))]
