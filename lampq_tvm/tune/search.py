"""The search for one kernel: MetaSchedule proposes, another process measures, the log remembers.

Nothing here depends on the clock or on chance but the measurements themselves, and those are in the log. So a search that
was killed and is started again with the same seed proposes the same candidates, takes what the log knows and goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

from lampq_tvm.errors import DeviceError, GateError, OutputError, full_disk, is_bug
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import Kernel
from lampq_tvm.records.cpu import Record, TileSizes
from lampq_tvm.tune.bench import Measuring
from lampq_tvm.tune.case import make_case
from lampq_tvm.tune.log import TrialLog
from lampq_tvm.tune.propose import computation, context, sampled, tiles_of
from lampq_tvm.tune.space import space_of

BATCH = 8
WARM_UP = 8  # measurements before the cost model is trusted
ROUNDS = 15
FINAL_ROUNDS, FINALISTS, ATTEMPTS = 41, 4, 3
GLOBAL_RANDOM = threading.Lock()  # the cost model draws from NumPy's global generator
CLEARLY = 0.02  # what tuned sizes must gain on the default ones: times have noise, estimates an error


def quartile(samples: list[float]) -> float:
    """The lower quartile of samples: other programs on the machine only ever add time."""
    return sorted(samples)[len(samples) // 4]


@dataclass
class Search:
    """The search for one kernel.

    Attributes:
        kernel: what is tuned.
        measuring: builds and measures.
        log: what is known.
        identity: of machine, device and compiler; results of another one are not taken.
        seed: of the search.
        known: what an earlier record chose, tried right after the default schedule.
    """

    kernel: Kernel
    measuring: Measuring
    log: TrialLog
    identity: str
    seed: int
    known: Tiles | None = None
    costs: dict[Tiles, float | None] = field(default_factory=dict)
    _case: Path | None = None

    def run(self, trials: int) -> Iterator[Tiles]:
        """Yield each candidate when its cost is known, the default schedule first.

        Raises:
            GateError, DeviceError: the default schedule itself fails.
        """
        target = tvm.target.Target({**self.measuring.target.tvm, "num-cores": self.measuring.target.cores})
        first = [self.kernel.default]
        if self.known not in (None, self.kernel.default) and space_of(self.kernel).holds(self.known):
            first.append(self.known)
        for tiles in first[:trials]:
            self.cost(tiles)
            yield tiles
        if trials <= len(first):
            return
        model = ms.cost_model.XGBModel(num_warmup_samples=WARM_UP, early_stopping_rounds=20, num_tuning_cores=1)
        task = _Task(self, target, model, trials - len(first), first)
        while candidates := task.propose():
            for tiles, _ in candidates:
                self.cost(tiles)
                yield tiles
            task.learn(candidates)

    def cost(self, tiles: Tiles) -> float | None:
        """Microseconds or instructions of a candidate, None where it fails; from the log where it is known.

        Raises:
            GateError, DeviceError: the default schedule fails, which is no candidate's fault and is not remembered.
        """
        if tiles not in self.costs:
            fields = {"identity": self.identity, "phase": "search", "tiles": tiles.key}
            trial = self.log.find(**fields)
            if trial is None:
                found = self._try(tiles)
                if tiles == self.kernel.default and found["outcome"] != "exact":
                    error = GateError if found["outcome"] == "wrong" else DeviceError
                    raise error(f"the default schedule fails ({found})", where=self.kernel.key, hint="please report this")
                trial = self.log.add({**fields, **found})
            self.costs[tiles] = trial.get("cost")
        return self.costs[tiles]

    def record(self) -> Record:
        """The best tiles, measured once more side by side with the default ones, which win unless they are clearly slower."""
        default = self.kernel.default
        able = sorted((cost, tiles.key, tiles) for tiles, cost in self.costs.items() if cost is not None and tiles != default)
        finalists = [default, *(tiles for _, _, tiles in able[: FINALISTS - 1])]
        fields = {"identity": self.identity, "phase": "final", "tiles": [tiles.key for tiles in finalists]}
        trial = self.log.find(**fields) or self.log.add({**fields, **self._final(finalists)})
        costs = trial["costs"]
        best = min(range(len(costs)), key=lambda i: costs[i])
        if min(trial["gains"][best], costs[0] / costs[best]) < 1 + CLEARLY:
            best = 0
        kernel = self.kernel
        return Record(
            isa=kernel.isa,
            kernel=kernel.key,
            tiles=TileSizes(**vars(finalists[best])),
            unit=trial["unit"],
            cost=costs[best],
            default_cost=costs[0],
            kind="measured" if trial["unit"] == "us" else "estimated",
            trials=len(self.costs),
            failed=sum(cost is None for cost in self.costs.values()),
            seed=self.seed,
            judged=self.measuring.judged,
            clocks_mhz=trial.get("clocks_mhz"),
            history={tiles.key: self._outcome(tiles) for tiles in self.costs},
        )

    def _outcome(self, tiles: Tiles) -> float | str:
        """Cost of a candidate, or how it failed."""
        cost = self.costs[tiles]
        trial = self.log.find(identity=self.identity, phase="search", tiles=tiles.key)
        return cost if cost is not None else trial["outcome"] if trial else "unknown"

    def _try(self, tiles: Tiles) -> dict[str, Any]:
        """Outcome of a candidate: `exact` with its cost, else `build`, `wrong`, `crash` or `hang`."""
        try:
            library = self.measuring.build(self.kernel, tiles)
        except OutputError:
            raise
        except (OSError, MemoryError) as e:  # of this machine: no candidate's fault, and not remembered
            if isinstance(e, OSError) and (full := full_disk(e)):
                raise full from e
            what = f"a candidate cannot be built here ({e})"
            raise DeviceError(what, where=self.kernel.key, hint="free disk space or memory, run it again") from e
        except Exception as e:  # TVM, LLVM and the linker each have their own; any of them costs this candidate
            if is_bug(e):
                raise
            return {"outcome": "build", "why": (str(e).strip().splitlines() or [type(e).__name__])[-1][:200]}
        answer = self._judge([library], ROUNDS)
        if answer["outcome"] in ("crash", "hang"):  # once more: a busy machine must not condemn a candidate for good
            answer = self._judge([library], ROUNDS)
        library.unlink()
        if answer["outcome"] != "exact":
            return answer
        more = {"instructions": answer["instructions"][0]} if "instructions" in answer else {}
        return {"outcome": "exact", "unit": answer["unit"], "cost": quartile(answer["samples"][0]), **more}

    def _final(self, finalists: list[Tiles]) -> dict[str, Any]:
        libraries = [self.measuring.build(self.kernel, tiles) for tiles in finalists]
        for _ in range(ATTEMPTS):  # a busy machine can make good libraries miss their time limit
            answer = self._judge(libraries, FINAL_ROUNDS)
            if answer["outcome"] == "exact":
                break
        for library in libraries:
            library.unlink()
        if answer["outcome"] != "exact":
            what = f"the last comparison failed ({answer['outcome']})"
            raise DeviceError(what, where=self.kernel.key, hint="run it again")
        first, costs = answer["samples"][0], [round(quartile(s), 3) for s in answer["samples"]]
        gains = [round(float(np.median(np.divide(first, s))), 4) for s in answer["samples"]]  # in turns: a burst hits both
        clocks = {key: answer[key] for key in ("clocks_mhz",) if answer.get(key) is not None}
        return {"outcome": "exact", "unit": answer["unit"], "costs": costs, "gains": gains, **clocks}

    def _judge(self, libraries: list[Path], rounds: int) -> dict[str, Any]:
        if self._case is None:
            self._case = self.measuring.write_case(make_case(self.kernel))
        return self.measuring.judge(self._case, libraries, rounds)


class _Task:
    """MetaSchedule's side of a search."""

    def __init__(self, search: Search, target: tvm.target.Target, model: Any, trials: int, first: list[Tiles]) -> None:
        self.search, self.model, self.target = search, model, target
        self.space = space_of(search.kernel)
        self.context = context(self.space, target, search.seed)
        self.database = ms.database.MemoryDatabase()
        self.context.pre_tuning(trials, BATCH, database=self.database, cost_model=model)
        self.workload = self.database.commit_workload(self.context.mod)
        for tiles in first:
            self._learn_first(tiles)

    def propose(self) -> list[tuple[Tiles, Any]]:
        """The next candidates; empty where the space or the trials are used up."""
        with GLOBAL_RANDOM:
            state = np.random.get_state()  # noqa: NPY002
            np.random.seed(self.search.seed)  # noqa: NPY002
            try:
                candidates = self.context.generate_measure_candidates() or []
            finally:
                np.random.set_state(state)  # noqa: NPY002
        return [(tiles_of(candidate.sch), candidate) for candidate in candidates]

    def learn(self, candidates: list[tuple[Tiles, Any]]) -> None:
        """Tell the strategy, the cost model and the next generation what was measured."""
        if not candidates:
            return
        found = [candidate for _, candidate in candidates]
        results = [self._result(tiles) for tiles, _ in candidates]
        self.context.notify_runner_results(found, results)
        self._keep(found, results)

    def _learn_first(self, tiles: Tiles) -> None:
        sch = Schedule(computation(self.space))
        sampled(sch, self.space, tiles)
        info = ArgInfo.from_entry_func(self.context.mod, remove_preproc=True)
        self._keep([ms.MeasureCandidate(sch, info)], [self._result(tiles)])

    def _keep(self, candidates: list[Any], results: list[Any]) -> None:
        self.model.update(self.context, candidates, results)
        for candidate, result in zip(candidates, results, strict=True):
            if result.run_secs is not None:
                row = (candidate.sch.trace, self.workload, result.run_secs, self.target, candidate.args_info)
                self.database.commit_tuning_record(ms.database.TuningRecord(*row))

    def _result(self, tiles: Tiles) -> Any:
        cost = self.search.cost(tiles)
        return ms.runner.RunnerResult(None, "failed") if cost is None else ms.runner.RunnerResult([cost * 1e-6], None)
