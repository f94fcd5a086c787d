"""The frame of a bench: its command line, this machine, a table and a JSON file, and work that is not done twice."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lampq_tvm.cli.output import print_table
from lampq_tvm.sources import package_digest
from lampq_tvm.store import digest, write_atomic

ROOT = Path(__file__).resolve().parents[2]


def arguments(doc: str | None, name: str) -> argparse.ArgumentParser:
    """A command line with the options that every bench has.

    Args:
        doc: the script's docstring.
        name: of the results file.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / f"{name}.json")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench" / name, help="folder of finished pieces")
    return parser


class Pieces:
    """Finished pieces of a bench: JSON values by what they depend on, this package's own code included.

    Args:
        folder: where they lie; delete it to measure anew.
        shared: what every piece depends on.
        own: whether they depend on this package's code.
    """

    def __init__(self, folder: Path, *shared: Any, own: bool = True) -> None:
        self.folder, self.shared = folder, [*([package_digest()] if own else []), *shared]

    def get(self, name: str, compute: Callable[[], Any], *key: Any) -> Any:
        """The piece, read back where it was finished before, else computed and kept."""
        path = self.folder / f"{name}-{digest(*self.shared, *key)[:12]}.json"
        if not path.is_file():
            write_atomic(path, json.dumps(compute()).encode())
        return json.loads(path.read_text())


def machine() -> dict[str, Any]:
    """This machine and the versions of what runs on it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("lampq-tvm", "apache-tvm", "torch", "timm", "onnxruntime", "numpy")
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in packages},
    }


def finish(output: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], **facts: Any) -> None:
    """Print the table and write it, with the facts, as JSON."""
    kept = [dict(row) for row in rows]
    print_table(columns, [[row.get(c) for c in columns] for row in kept])
    write_atomic(output, (json.dumps({**facts, "rows": kept}, indent=1) + "\n").encode())
