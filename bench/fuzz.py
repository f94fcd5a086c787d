"""Mutated files of every kind through their readers and through the command line, in forked children.

    python bench/fuzz.py                                   10,000 through each reader, 300 through each command
    python bench/fuzz.py --readers 200 --commands 10       a short form
    python bench/fuzz.py --kinds onnx --seed 417 --readers 1 --commands 0

A reader must take a file or refuse it with one line; a command must end with a code of its list and, where that is not 0, one
line that begins with `error:`. A traceback, a dead process, more than 10 s or more than 2 GB above the imports is a finding,
named with its seed: the same seed makes the same file.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import arguments, finish, machine
from fuzzing.child import outcomes, read_once, run_once
from fuzzing.kinds import Kind, kinds
from fuzzing.samples import make_samples

READER = ("readers", "accepted", "refused", "findings")
COMMAND = ("commands", "exit_0", "exit_other", "command_findings")
COLUMNS = ("kind", *READER, *COMMAND, "seconds")


def ready() -> None:
    """In a child, before its memory is limited: what otherwise would be imported by the first file."""
    import torch

    torch.set_num_threads(1)


def through_reader(kind: Kind, seeds: Sequence[int]) -> tuple[Counter[str], list[dict[str, Any]]]:
    """How many mutations ended in which way, and the findings."""
    return _sorted(kind, outcomes(list(seeds), kind.make, lambda path: read_once(kind.read, path), ready))


def through_command(kind: Kind, seeds: Sequence[int]) -> tuple[Counter[str], list[dict[str, Any]]]:
    """The same of its command; nothing where it has none."""
    command = kind.command
    if command is None:
        return Counter(), []
    return _sorted(kind, outcomes(list(seeds), kind.make, lambda path: run_once(command(path)), ready))


def _sorted(kind: Kind, found: Any) -> tuple[Counter[str], list[dict[str, Any]]]:
    counts: Counter[str] = Counter()
    findings = []
    for seed, outcome in found:
        counts[outcome.partition(":")[0]] += 1
        if outcome.startswith("finding"):
            findings.append({"kind": kind.name, "seed": seed, "what": outcome})
    return counts, findings


def row(kind: Kind, first: int, readers: int, commands: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row of the table, and its findings."""
    start = time.monotonic()
    read, found = through_reader(kind, range(first, first + readers))
    ran, more = through_command(kind, range(first, first + commands))
    figures = (readers, read["accepted"], read["refused"], read["finding"], sum(ran.values()), ran["accepted"], ran["refused"])
    made = dict(zip(COLUMNS, (kind.name, *figures, ran["finding"], round(time.monotonic() - start, 1)), strict=True))
    return made, [*found, *({**f, "command": True} for f in more)]


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
    rows, findings = [], []
    for kind in prepare(o.work):
        if o.kinds and kind.name not in o.kinds:
            continue
        made, found = row(kind, o.seed, o.readers, o.commands)
        rows.append(made)
        findings += found
        print(f"{kind.name}: {len(found)} findings, {made['seconds']} s", file=sys.stderr, flush=True)
        for finding in found[:20]:
            print(f"  {finding}", file=sys.stderr, flush=True)
    finish(o.output, COLUMNS, rows, machine=machine(), seed=o.seed, findings=findings)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
