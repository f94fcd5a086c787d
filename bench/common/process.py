"""The command line, or a module, as a process of its own, with what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def lampq(verb: str, args: list[str], cache: Path, log: Path) -> dict[str, Any]:
    """Run a verb of the command line; see `measured`."""
    return measured(["lampq_tvm", verb, *args], cache, log)


def measured(module: list[str], cache: Path, log: Path) -> dict[str, Any]:
    """Run a module with arguments; wall and CPU seconds and peak memory of that process and its children.

    Ends the program where it fails.
    """
    command = [sys.executable, "-m", *module]
    start = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, "LAMPQ_CACHE": str(cache)}, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(module[:2])} failed:\n{log.read_text()[-2000:]}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_rss_mib": usage.ru_maxrss / 1024,
    }
