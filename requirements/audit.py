"""Looks for known faults in every pinned release, of whatever Python and machine; fails where there is one or it cannot look.

make audit        (or: python requirements/audit.py [any options of pip-audit, such as --vulnerability-service osv])
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from lampq_tvm.device.pins import read_pins

FOLDER = Path(__file__).resolve().parent
FILES = ("board.txt", "workstation.txt", "maintain.txt", "docs.txt")


def layers() -> list[str]:
    """Requirement files that together hold every release that is pinned anywhere; pip-audit takes a name once a file."""
    by_name: dict[str, dict[str, str]] = {}
    for file in FILES:
        for pin in read_pins(FOLDER / file):
            by_name.setdefault(pin.name, {})[pin.version] = pin.line
    deepest = max(len(lines) for lines in by_name.values())
    rows = [sorted(lines.values()) for _, lines in sorted(by_name.items())]
    return ["\n".join(row[i] for row in rows if i < len(row)) + "\n" for i in range(deepest)]


def audit(text: str, options: list[str]) -> bool:
    """Whether nothing is known against any release of a requirement file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text(text, "utf-8")
        command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
        return subprocess.run([*command, *options, "-r", str(path)], check=False).returncode == 0


def main() -> int:
    """Exit code."""
    found = [audit(text, sys.argv[1:]) for text in layers()]
    if not all(found):
        print("audit: a pin has a known fault, or could not be looked up: see above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
