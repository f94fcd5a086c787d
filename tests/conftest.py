"""What the whole suite shares: a last line that names what was left out because this machine lacks an instruction set.

And which tests run on one worker (`--dist loadgroup`), since they share what takes long to make.
"""

from __future__ import annotations

import gc
from collections import defaultdict

import pytest

# Parameters that stand for what takes long to make, and is made once a worker: a level's kernels and its emulated board, an
# architecture's kernels, a family's model with its calibration.
SHARED = ("machine", "compiled", "family")
LACKING = "this CPU has no "  # how a skip of such a test begins; the level's name follows


@pytest.fixture(autouse=True, scope="module")
def what_stays() -> None:
    """Torch's and TVM's objects by the million are looked through for garbage once, and not again in every test."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests by instruction set level."""
    left_out: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if LACKING in reason:
            left_out[reason.partition(LACKING)[2]].append(report.nodeid.partition(f"@{SHARED[0]} ")[0])
    for level, tests in sorted(left_out.items()):
        terminalreporter.write_sep("-", f"left out, {LACKING}{level}: {len(tests)} tests")
        for test in sorted(tests):
            terminalreporter.write_line(f"  {test}")
    counts = ", ".join(f"{len(tests)} for want of {level}" for level, tests in sorted(left_out.items()))
    terminalreporter.write_line(f"instruction sets: {counts or 'nothing left out'}")


@pytest.hookimpl(tryfirst=True)  # xdist reads the names right after
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the worker's group of tests that share what is dear to make."""
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        shared = next((name for name in SHARED if name in params), None)
        if shared is not None:
            item.add_marker(pytest.mark.xdist_group(f"{shared} {params[shared]}"))
