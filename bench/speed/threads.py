"""What 1 to 12 threads cost and how evenly they share a model's kernels, counted on an emulated core.

    python -m bench.speed.threads          (figures in bench/results/threads.json)

Every parallel loop is split into as many tasks as there are threads, as TVM's pool does; the tasks run one after another, each
counted apart, so nobody waits and nothing spins. `relative`: instructions of all threads together, one thread being 1.
`balance`: the largest share times the threads, 1 where all are equal; what is outside parallel loops counts as one thread's.
`barriers`: parallel loops of all calls, at whose ends threads wait for each other.
Batch 1, 8 bits, default schedules, random operands: no kernel's count depends on them. Counts are no times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.common.networks import BOARDS, MODELS, network
from bench.common.run import arguments, finish, machine
from lampq_tvm.device.emulate import played_board
from lampq_tvm.device.native import count_classes
from lampq_tvm.device.native_core import NativeCore
from lampq_tvm.latency.bench import arguments as operands
from lampq_tvm.latency.work import at_widths
from lampq_tvm.lower.module import default_schedules, lower_calls
from lampq_tvm.targets import Target, resolve_target

COLUMNS = ("isa", "kernel", "threads", "million", "relative", "balance", "barriers")


@dataclass(frozen=True)
class Shared:
    """Instructions of a kernel, or of many, on a number of threads.

    Attributes:
        total: of all threads.
        longest: of what stands outside parallel loops, and of each loop's largest task.
        barriers: parallel loops that are run.
    """

    total: float
    longest: float
    barriers: int

    def times(self, count: int) -> Shared:
        """Of as many calls."""
        return Shared(count * self.total, count * self.longest, count * self.barriers)

    @classmethod
    def sum(cls, parts: Iterable[Shared]) -> Shared:
        """All of them one after another."""
        parts = list(parts)
        return cls(sum(p.total for p in parts), sum(p.longest for p in parts), sum(p.barriers for p in parts))


def share(function: Any, target: Target, threads: list[int], core: NativeCore) -> list[Shared]:
    """A kernel's instructions on each number of threads."""
    inputs = operands(function)[:-1]
    whole = count_classes(function, inputs, target, core=core).instructions
    alone = count_classes(function, inputs, target, core=core, threads=1).tasks
    outside, found = whole - sum(map(sum, alone)), []
    for count in threads:
        tasks = count_classes(function, inputs, target, core=core, threads=count).tasks
        found.append(Shared(outside + sum(map(sum, tasks)), outside + sum(map(max, tasks)), len(tasks)))
    return found


def kernels(model: str, isa: str) -> Iterator[tuple[str, int, Any]]:
    """(name, calls, kernel) of every kernel of a model at 8 bits."""
    calls, _ = lower_calls(at_widths(network(*MODELS[model]), 8, 8), isa, 1, default_schedules)
    builders = {call.kernel: call.build for call in calls}
    counts = Counter(call.kernel for call in calls)
    yield from ((name, counts[name], build()) for name, build in builders.items())


def rows(model: str, isa: str, threads: list[int]) -> Iterator[dict[str, Any]]:
    """Rows of every kernel of a model on a level, and of the whole."""
    target = resolve_target(BOARDS[isa])
    core = NativeCore(played_board(target))
    names, parts = [], []
    for name, calls, function in kernels(model, isa):
        names.append(name)
        parts.append([found.times(calls) for found in share(function, target, threads, core)])
    whole = [Shared.sum(column) for column in zip(*parts, strict=True)]
    for name, found in zip([*names, "whole"], [*parts, whole], strict=True):
        for count, shared in zip(threads, found, strict=True):
            ratios = {
                "relative": round(shared.total / found[0].total, 4),
                "balance": round(balance(shared, count), 3),
                "barriers": shared.barriers,
            }
            yield {"isa": isa, "kernel": name, "threads": count, "million": round(shared.total / 1e6, 2), **ratios}


def balance(shared: Shared, threads: int) -> float:
    """The longest share times the threads: 1 where all are equal, and the number of threads where one does everything."""
    return shared.longest * threads / shared.total


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, "threads")
    parser.add_argument("--model", choices=list(MODELS), default="deit_tiny")
    parser.add_argument("--levels", nargs="+", choices=list(BOARDS), default=list(BOARDS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 4, 6, 8, 12])
    options = parser.parse_args()
    if options.threads[0] != 1:
        parser.error("the first number of threads is what the others are compared with: 1")
    found = [row for isa in options.levels for row in rows(options.model, isa, options.threads)]
    finish(options.output, COLUMNS, found, kind="estimated", model=options.model, machine=machine())


if __name__ == "__main__":
    main()
