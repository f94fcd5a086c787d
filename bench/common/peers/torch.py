"""torch in float: the runner whose logits all others are compared with."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.common.peers.case import Case
from bench.common.peers.peer import Peer, Runner


def make(case: Case, target: str, folder: Path) -> None:
    """Copy the weights."""
    shutil.copy(case.weights, folder / "weights.safetensors")


PEER = Peer("torch", {"fp32": Runner("torch", "weights.safetensors")}, make, ("torch",))
