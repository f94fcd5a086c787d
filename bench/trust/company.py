"""Commands in each other's company: several at once in one fresh cache, round by round, and one that is killed again and again.

    python -m bench.trust.company                                        (figures in bench/results/company.json)
    python -m bench.trust.company --rounds 1 --commands 3 --kills 2      (a short form, which the tests run too)

A round starts in an empty cache with `--commands` of the requests, drawn with repetition, all at once. Then a command is killed
at a random moment of its run, and given again in the same cache; when it gets to the end, the next kill finds an empty cache.
`hashes` counts results of a request over all rounds and all runs that got to the end: it must be 1, `failed` must be 0.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.common.run import ROOT, arguments, finish, machine
from bench.common.sample import CHECKPOINT, MODEL, SAMPLE

COLUMNS = ("request", "runs", "failed", "hashes", "sha256")
LINES = 8  # of a failed command that are shown
COMMON = [MODEL, "--checkpoint", str(CHECKPOINT), "--data", str(SAMPLE / "calib512.npz")]
FEW = ["--calib-images", "32", "--sens-images", "32"]
REQUESTS = {
    "compile host 8bit": ["compile", "--target", "host", "--budget", "8bit"],
    "compile host 4bit": ["compile", "--target", "host", "--budget", "4bit", "--no-update"],
    "compile host 4/8bit": ["compile", "--target", "host", "--budget", "4/8bit", "--no-update"],
    "compile raspberry-pi-5 8bit": ["compile", "--target", "raspberry-pi-5", "--budget", "8bit"],
    "compile raspberry-pi-5 4bit": ["compile", "--target", "raspberry-pi-5", "--budget", "4bit", "--no-update"],
    "plan 4bit": ["plan", "--target", "host", "--budget", "4bit"],
}


@dataclass
class Count:
    """Runs of a request that got to the end, those of them that failed, and the hashes of what the others wrote."""

    runs: int = 0
    failed: int = 0
    hashes: set[str] = field(default_factory=set)


class Company:
    """Runs requests and counts what comes of them.

    Args:
        work: an empty folder.
    """

    def __init__(self, work: Path) -> None:
        self.work, self.counts, self._number = work, defaultdict[str, Count](Count), 0

    def start(self, request: str, cache: Path) -> tuple[subprocess.Popen[str], Path]:
        """A command on its way, and the file that it will write."""
        self._number += 1
        verb, *options = REQUESTS[request]
        output = self.work / f"{self._number}.{'json' if verb == 'plan' else 'lampq'}"
        command = [sys.executable, "-m", "lampq_tvm", verb, *COMMON, *FEW, *options, "-o", str(output)]
        env = {**os.environ, "LAMPQ_CACHE": str(cache)}
        log = output.with_suffix(".log").open("w")
        with log:
            process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log, text=True, start_new_session=True)
        return process, output

    def ended(self, request: str, code: int, output: Path) -> None:
        """Count a run that got to its end."""
        count = self.counts[request]
        count.runs += 1
        if code == 0:
            count.hashes.add(hashlib.sha256(output.read_bytes()).hexdigest())
        else:
            count.failed += 1
            last = output.with_suffix(".log").read_text().splitlines()[-LINES:]
            print(f"{request}: exit code {code}", *last, sep="\n    ", file=sys.stderr, flush=True)

    def round(self, requests: list[str]) -> None:
        """Give some requests at once in an empty cache."""
        cache = self.fresh_cache()
        running = [(request, *self.start(request, cache)) for request in requests]
        for request, process, output in running:
            self.ended(request, process.wait(), output)

    def kills(self, request: str, count: int, chance: random.Random) -> int:
        """Kill a command `count` times, then let it end; how often it got to the end meanwhile."""
        cache, whole_s, ends, killed = self.fresh_cache(), self.seconds(request), 0, 0
        while killed < count:
            process, output = self.start(request, cache)
            try:
                code = process.wait(chance.uniform(0, whole_s))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            else:
                self.ended(request, code, output)
                cache, ends = self.fresh_cache(), ends + 1
        process, output = self.start(request, cache)
        self.ended(request, process.wait(), output)
        return ends

    def seconds(self, request: str) -> float:
        """How long a request takes in an empty cache."""
        start = time.monotonic()
        self.round([request])
        return time.monotonic() - start

    def fresh_cache(self) -> Path:
        """An empty folder for a cache."""
        cache = self.work / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        return cache

    def rows(self) -> list[dict[str, Any]]:
        """What came of each request."""
        found = []
        for request, count in sorted(self.counts.items()):
            hashes = sorted(count.hashes)
            sha256 = hashes[0][:16] if len(hashes) == 1 else "-"
            row = {"request": request, "runs": count.runs, "failed": count.failed, "hashes": len(hashes), "sha256": sha256}
            found.append(row)
        return found


def main() -> None:
    """Command line; exit code 1 where a command failed or a request has several results."""
    parser = arguments(__doc__, "company")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--commands", type=int, default=6, help="at once")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--killed", choices=sorted(REQUESTS), default="compile host 4bit", help="the request that is killed")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    facts, chance = machine(), random.Random(o.seed)
    shutil.rmtree(o.work, ignore_errors=True)
    company = Company(o.work)
    for _ in range(o.rounds):
        company.round(chance.choices(sorted(REQUESTS), k=o.commands))
    ends = company.kills(o.killed, o.kills, chance) if o.kills else 0
    facts |= {"rounds": o.rounds, "commands": o.commands, "kills": o.kills, "ends_between_kills": ends}
    rows = company.rows()
    finish(o.output, COLUMNS, rows, machine=facts)
    if any(row["failed"] or row["hashes"] != 1 for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
