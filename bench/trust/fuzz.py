"""Mutated files of every kind through their readers and through the command line, in forked children.

    python -m bench.trust.fuzz                                   10,000 through each reader, 300 through each command
    python -m bench.trust.fuzz --readers 200 --commands 10       a short form
    python -m bench.trust.fuzz --kinds onnx --seed 417 --readers 1 --commands 0

A reader must take a file or refuse it with one line; a command must end with a code of its list and, where that is not 0, one
line that begins with `error:`. A traceback, a dead process, more than 10 s or more than 2 GB above the imports is a finding,
named with its seed: the same seed makes the same file. What is finished is kept, and goes on from there after a kill.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.common.run import Pieces, arguments, finish, machine
from bench.trust.fuzzing.child import outcomes, read_once, run_once
from bench.trust.fuzzing.kinds import Kind, kinds
from bench.trust.fuzzing.samples import make_samples

READER = ("readers", "accepted", "refused", "findings")
COMMAND = ("commands", "exit_0", "exit_other", "command_findings")
PIECE = 500
COLUMNS = ("kind", *READER, *COMMAND, "seconds")


def ready() -> None:
    """In a child, before its memory is limited: what otherwise would be imported by the first file."""
    import torch

    torch.set_num_threads(1)


def through_reader(kind: Kind, seeds: Sequence[int]) -> list[tuple[int, str]]:
    """(seed, how it ended) of mutations given to a kind's reader."""
    return list(outcomes(list(seeds), kind.make, lambda path: read_once(kind.read, path), ready))


def through_command(kind: Kind, seeds: Sequence[int]) -> list[tuple[int, str]]:
    """The same of its command; nothing where it has none."""
    command = kind.command
    return [] if command is None else list(outcomes(list(seeds), kind.make, lambda path: run_once(command(path)), ready))


def piece(run: Callable[[], list[tuple[int, str]]]) -> dict[str, Any]:
    """How often mutations ended in which way, the findings among them, and the seconds they took."""
    start = time.monotonic()
    counts: Counter[str] = Counter()
    findings = []
    for seed, outcome in run():
        counts[outcome.partition(":")[0]] += 1
        if outcome.startswith("finding"):
            findings.append({"seed": seed, "what": outcome})
    return {"counts": counts, "findings": findings, "seconds": time.monotonic() - start}


def row(kind: Kind, first: int, readers: int, commands: int, pieces: Pieces) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row of the table, and its findings; every `PIECE` mutations are kept when they are finished."""
    sums, findings, seconds = {}, [], 0.0
    for name, through, count in (("readers", through_reader, readers), ("commands", through_command, commands)):
        total: Counter[str] = Counter()
        for low in range(first, first + count, PIECE):
            seeds = range(low, min(low + PIECE, first + count))
            file, key = f"{kind.name}-{name}".replace(" ", "-"), (kind.name, seeds.start, seeds.stop)
            found = pieces.get(file, lambda s=seeds, t=through: piece(lambda: t(kind, s)), *key)
            total.update(found["counts"])
            findings += [{"kind": kind.name, "through": name, **f} for f in found["findings"]]
            seconds += found["seconds"]
        sums[name] = total
    read, ran = sums["readers"], sums["commands"]
    figures = (readers, read["accepted"], read["refused"], read["finding"], sum(ran.values()), ran["accepted"], ran["refused"])
    return dict(zip(COLUMNS, (kind.name, *figures, ran["finding"], round(seconds, 1)), strict=True)), findings


def prepare(folder: Path) -> list[Kind]:
    """The kinds, with everything imported that a child would import."""
    made = make_samples(folder)
    os.environ["LAMPQ_CACHE"] = str(folder / "cache")
    found = kinds(made)
    from lampq_tvm.runtime import machine as _  # noqa: F401

    return found


def main() -> None:
    """Print the table and write it; exit with 1 where something was found."""
    parser = arguments(__doc__, "fuzz")
    parser.add_argument("--readers", type=int, default=10000, help="mutations through each reader")
    parser.add_argument("--commands", type=int, default=300, help="mutations through each command")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--kinds", nargs="*", help="names of the table; all of them where left out")
    o = parser.parse_args()
    rows, findings, pieces = [], [], Pieces(o.work / "pieces")
    for kind in prepare(o.work):
        if o.kinds and kind.name not in o.kinds:
            continue
        made, found = row(kind, o.seed, o.readers, o.commands, pieces)
        rows.append(made)
        findings += found
        print(f"{kind.name}: {len(found)} findings, {made['seconds']} s", file=sys.stderr, flush=True)
        for finding in found[:20]:
            print(f"  {finding}", file=sys.stderr, flush=True)
    finish(o.output, COLUMNS, rows, machine=machine(), seed=o.seed, findings=findings)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
