"""OpenVINO: float (bfloat16 where the core has it, its default), and int8 by NNCF's calibration for transformers."""

from __future__ import annotations

from pathlib import Path

from bench.common.peers.case import Case
from bench.common.peers.environment import Environment, convert
from bench.common.peers.onnx_export import float_onnx
from bench.common.peers.peer import HERE, Peer, Runner

ENVIRONMENT = Environment(("openvino", "nncf", "onnx"))


def make(case: Case, target: str, folder: Path) -> None:
    """Write its files; the target does not matter.

    Raises:
        DeviceError: it cannot be installed, or refuses the model.
    """
    convert(ENVIRONMENT, HERE / "openvino_convert.py", float_onnx(case, folder), case.images, folder)


RUNNERS = {"float": Runner("openvino", "fp32.xml"), "int8": Runner("openvino", "int8.xml")}
PEER = Peer("openvino", RUNNERS, make, ("openvino",), ENVIRONMENT)
