"""This project as another checkout has it: what its artifacts took before a change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.common.peers import lampq
from bench.common.peers.case import Case
from bench.common.peers.peer import Peer
from lampq_tvm.errors import DeviceError

MAKE = """
import sys
from pathlib import Path
from bench.common.peers.case import Case
from bench.common.peers.lampq import make
make(Case(sys.argv[1], Path(sys.argv[2])), sys.argv[3], Path(sys.argv[4]))
"""


def making(tree: Path) -> Callable[[Case, str, Path], None]:
    """What makes the artifacts by the code of a checkout."""

    def make(case: Case, target: str, folder: Path) -> None:
        words = [case.model, str(case.folder / "before"), target, str(folder)]
        done = subprocess.run(
            [sys.executable, "-c", MAKE, *words],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DeviceError(f"it made no artifacts ({done.stderr.strip()[-300:]})", where=str(tree))

    return make


def peer(tree: Path) -> Peer:
    """Its runners, made and run by a checkout; their rows are this project's own."""
    tree = tree.resolve()
    return Peer("lampq before", lampq.PEER.runners, making(tree), foreign=False, tree=tree)
