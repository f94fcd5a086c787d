"""Reads requirement files whose every line is pinned: `name==version ; marker --hash=sha256:...`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pin:
    """One release that may be installed, where its marker holds (everywhere if it is empty)."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def line(self) -> str:
        """The pin without its marker, as a line of a requirement file."""
        return f"{self.name}=={self.version} " + " ".join(f"--hash=sha256:{h}" for h in self.hashes)

    def holds(self, python: str, machine: str) -> bool:
        """Whether it is meant for a Python (`3.11`) on Linux on a machine (`aarch64`)."""
        from packaging.markers import Marker

        there = {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "sys_platform": "linux",
            "platform_machine": machine,
        }
        return not self.marker or Marker(self.marker).evaluate(there)


def read_pins(path: Path) -> list[Pin]:
    """The pins of a file, in its order.

    Raises:
        ValueError: a line is no pin, or has no hash.
    """
    from packaging.requirements import Requirement  # of workstations: boards read no requirement files

    pins = []
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        text, *hashes = line.partition("#")[0].split(" --hash=sha256:")
        if not text.strip():
            continue
        found = Requirement(text)
        exact = [s.version for s in found.specifier if s.operator == "=="]
        if len(exact) != 1 or len(found.specifier) != 1 or found.url or not hashes:
            raise ValueError(f"{path.name}: {text.strip()!r} is no version with a hash")
        pins.append(Pin(found.name, exact[0], str(found.marker or ""), tuple(h.strip() for h in hashes)))
    return pins
