"""What a peer is, and its runners of a model, each with a reason where it cannot be had."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.common.peers.case import Case
from bench.common.peers.environment import Environment, board_site
from lampq_tvm.device.emulate import EmulatedBoard
from lampq_tvm.device.provision import once
from lampq_tvm.errors import LampqError
from lampq_tvm.sources import package_digest
from lampq_tvm.store import digest

HERE = Path(__file__).resolve().parent
WORKER = HERE.parent / "worker.py"
MISSING = ".missing"  # beside the name of a file that was not made: one line that says why


@dataclass(frozen=True)
class Runner:
    """One way to run a model.

    Attributes:
        kind: the worker's function.
        file: what it loads, in the folder of the peer's files.
        least: correlation with torch in float below which it computes something else.
    """

    kind: str
    file: str
    least: float = 0.95


@dataclass(frozen=True)
class Peer:
    """A runtime to compare with, or this project's own.

    Attributes:
        name: of its rows.
        runners: by label.
        make: writes the runners' files for a model and a target into a folder; raises LampqError where it can make none.
        packages: what runs it; a board gets their aarch64 wheels, in the versions that are here.
        environment: where they and its converter are on this machine; None: this project's own.
        foreign: whether it has nothing to do with this package's code, so that its figures outlive an edit of it.
        tree: the checkout whose code makes and runs it, where that is not this one.
    """

    name: str
    runners: Mapping[str, Runner]
    make: Callable[[Case, str, Path], None]
    packages: tuple[str, ...] = ()
    environment: Environment | None = None
    foreign: bool = True
    tree: Path | None = None

    def files(self, case: Case, target: str) -> dict[str, Path | str]:
        """What its runners load, by label, or one line that says why there is nothing."""
        try:
            folder = self.folder(case, target)
            with once(folder) as building:
                if building is not None:
                    self.make(case, target, building)
        except LampqError as e:
            return dict.fromkeys(self.runners, str(e))
        except Exception as e:
            if not self.foreign:
                raise
            reason = next(iter(str(e).strip().splitlines()), "no reason given")[:200]
            return dict.fromkeys(self.runners, f"its converter refuses the model ({type(e).__name__}: {reason})")
        found: dict[str, Path | str] = {}
        for label, runner in self.runners.items():
            path = folder / runner.file
            found[label] = path if path.exists() else path.with_name(path.name + MISSING).read_text("utf-8")
        return found

    def folder(self, case: Case, target: str) -> Path:
        """Of its files; there once all of them were made."""
        return case.folder / f"{self.name}-{self.key(target)[:12]}"

    def key(self, target: str) -> str:
        """Digest of what its files depend on, the model apart."""
        sources = [file.read_text("utf-8") for file in sorted(HERE.glob(f"{self.name}*.py"))]
        ours: list[str | bytes] = [package_digest()]
        if self.tree is not None:
            ours = [file.read_bytes() for file in sorted(self.tree.glob("*/**/*.py"))]
        return digest(sources, self.versions(), *([] if self.foreign else [*ours, target]))

    def versions(self) -> dict[str, str]:
        """Version of each of its packages on this machine."""
        return {p: version(p) if self.environment is None else self.environment.version(p) for p in self.packages}

    def python(self) -> Path:
        """The Python that runs it here."""
        return Path(sys.executable) if self.environment is None else self.environment.python()

    def site(self, board: EmulatedBoard) -> Path | None:
        """Its packages for the board; None where the board has what it needs.

        Raises:
            DeviceError: there are none for the board.
        """
        wanted = [f"{package}=={number}" for package, number in self.versions().items()]
        return board_site(board, wanted) if wanted else None
