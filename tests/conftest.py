"""What the whole suite shares: a last line that names what was left out because this machine lacks an instruction set.

Tests of one level's kernels run on one worker (`--dist loadgroup`), which compiles them and opens the level's board once.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

LACKING = "this CPU has no "  # how a skip of such a test begins; the level's name follows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests by instruction set level."""
    left_out: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if LACKING in reason:
            left_out[reason.partition(LACKING)[2]].append(report.nodeid)
    for level, tests in sorted(left_out.items()):
        terminalreporter.write_sep("-", f"left out, {LACKING}{level}: {len(tests)} tests")
        for test in sorted(tests):
            terminalreporter.write_line(f"  {test}")
    counts = ", ".join(f"{len(tests)} for want of {level}" for level, tests in sorted(left_out.items()))
    terminalreporter.write_line(f"instruction sets: {counts or 'nothing left out'}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests of `machine` by level."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "machine" in callspec.params:
            item.add_marker(pytest.mark.xdist_group(f"kernels of {callspec.params['machine']}"))
