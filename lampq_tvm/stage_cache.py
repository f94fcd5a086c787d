"""Finished stages by content: the same question is never worked out twice, and a changed one never gets an old answer."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lampq_tvm.errors import LampqError
from lampq_tvm.locks import locked
from lampq_tvm.progress import note
from lampq_tvm.sources import libraries, source_digest, text_digest
from lampq_tvm.store import SCHEMA, Units, digest

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
_held = threading.local()  # .stages: ranks of the stages whose locks a thread holds, each smaller than the one before


class Saved(Protocol):
    """A result that one file holds."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it."""

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""


S = TypeVar("S", bound=Saved)


@dataclass(frozen=True)
class Work:
    """What a stage's result depends on besides its inputs, modules by their names below this package.

    Attributes:
        runs: modules that do the work; with all that they import they are part of the stage's key (`sources.source_digest`).
        hands: modules that hand it its inputs; their own text alone, for they know every other stage too.
        gpu: run in place of `runs` for a target with a GPU.
    """

    runs: tuple[str, ...]
    hands: tuple[str, ...]
    gpu: tuple[str, ...] = ()


CHECKS = (
    "artifact.container",
    "data",
    "network.macs",
    "quantize.compare",
    "quantize.reference",
    "runtime.runner",
)  # compare a build with its reference
# The road. Keys hold those of stages before them (calibration's, a build's that of the integer network), so what only these
# run need not be named again.
STAGES = {
    "import": Work(("frontend.load", "spread"), ("api.stages",)),
    "calibrate": Work(("calibrate.fit", "data"), ("api.stages",)),
    "sensitivity": Work(("data", "sensitivity.measure"), ("api.stages",)),
    "latency": Work(("latency.measure",), ("api.latencies",), gpu=("latency.cuda", "device.cuda.driver")),
    "refit": Work(("calibrate.refit", "data", "scratch"), ("api.stages",)),
    "plan": Work(
        ("data", "network.execute", "quantize.build", "quantize.reference", "sensitivity.float_run", "spread"),
        ("api.judging", "api.running", "api.solving"),
    ),
    "quantize": Work(("quantize.build",), ("api.pipeline",)),
    "build": Work(("compiler.build", *CHECKS), ("api.compiling",), gpu=("compiler.cuda.build", "ptx.driver", *CHECKS)),
}


def code_key(stage: str, gpu: bool = False) -> list[Any]:
    """The code that a stage runs and the versions of the libraries that it uses."""
    work = STAGES[stage]
    runs = work.gpu if gpu and work.gpu else work.runs
    return [source_digest(*runs), text_digest(*work.hands), libraries(*runs)]


class Cache:
    """Folders of finished and half-finished stages below `root`, for any number of threads and processes.

    A finished result is read without a lock. A stage is worked out under its lock, one thread of one process at a time,
    and only stages before it in the road (the order of `STAGES`) are worked out meanwhile, so that no two wait for each other.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, stage: str, *key: Any, gpu: bool = False) -> Path:
        """The folder of a stage's result for these inputs; `gpu`: for a target with one."""
        name = digest(stage, SCHEMA, *code_key(stage, gpu), *key)
        return self.root / "stages" / stage / name[:32]

    def get(
        self,
        folder: Path,
        file: str,
        load: Callable[[Path], T],
        compute: Callable[[], T],
        save: Callable[[Path, T], None],
        units_in: Path | None = None,
    ) -> T:
        """The result in `folder` as it is read from there; computed and saved first where it is not finished.

        Whoever made it takes it from its file as well, so that a fresh result and a kept one never differ in anything.

        Args:
            folder: of the stage.
            file: the file whose presence says that the result is finished; written last.
            load: reads the result from the folder.
            compute: makes it; half-finished units of work may lie in `folder / "units"`.
            save: writes it into the folder.
            units_in: the folder of the same stage whose units it uses instead, and whose lock it takes.
        """
        found = _finished(folder, file, load)
        if found is None:
            with _alone(units_in or folder):
                found = _finished(folder, file, load)
                if found is None:
                    made = compute()
                    save(folder, made)
                    Units(folder / "units").clear()
                    found = _finished(folder, file, load)
                    found = made if found is None else found  # removed at once
        return found

    def file(self, folder: Path, file: str, kind: type[S], compute: Callable[[], S]) -> S:
        """The same of a result that is one file, which it writes and reads itself."""
        return self.get(folder, file, lambda f: kind.load(f / file), compute, lambda f, result: result.save(f / file))


def lock_path(folder: Path) -> Path:
    """The lock of a stage's folder: whoever removes the folder holds it."""
    return folder.parents[2] / "locks" / f"{folder.parent.name}-{folder.name}.lock"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a stage's folder.

    Raises:
        AssertionError: the thread holds the lock of a stage that is not behind this one.
    """
    road, held = list(STAGES), _held.__dict__.setdefault("stages", [])
    rank = road.index(folder.parent.name)
    if held and held[-1] <= rank:
        raise AssertionError(f"{folder.parent.name} is asked for while {road[held[-1]]} is worked out")
    with locked(lock_path(folder), folder.parent.name):
        held.append(rank)
        try:
            yield
        finally:
            held.pop()


def _finished(folder: Path, file: str, load: Callable[[Path], T]) -> T | None:
    """A finished result; None where there is none, or a damaged one, which is replaced."""
    if not (folder / file).exists():
        return None
    try:
        found = load(folder)
    except LampqError as e:
        if (folder / file).exists():  # else it was removed meanwhile
            note(f"{folder / file}: {e.what}; it is made again")
        return None
    with contextlib.suppress(OSError):
        os.utime(folder / file)  # when it was last used, see `lampq cache`
    return found
