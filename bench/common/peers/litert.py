"""XNNPACK, through LiteRT: float, int8 with scales found at run time, and int8 with calibrated scales."""

from __future__ import annotations

from pathlib import Path

from bench.common.peers.case import Case
from bench.common.peers.environment import Environment, convert
from bench.common.peers.peer import HERE, Peer, Runner

# The converter wants a torch of its own version, so this environment takes about 6 GB.
ENVIRONMENT = Environment(("ai-edge-litert", "litert-torch", "ai-edge-quantizer", "timm"))


def make(case: Case, target: str, folder: Path) -> None:
    """Write its files; the target does not matter.

    Raises:
        DeviceError: the converter cannot be installed, or refuses the model.
    """
    convert(ENVIRONMENT, HERE / "litert_convert.py", case.model, case.weights, case.images, folder)


RUNNERS = {"fp32": "fp32.tflite", "int8 dynamic": "dynamic.tflite", "int8 static": "static.tflite"}
PEER = Peer("litert", {k: Runner("litert", file) for k, file in RUNNERS.items()}, make, ("ai-edge-litert",), ENVIRONMENT)
