"""The float ONNX file of a model, from which ONNX Runtime and OpenVINO start."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from bench.common.peers.case import Case
from lampq_tvm.quiet import quiet


def float_onnx(case: Case, folder: Path) -> Path:
    """Write `fp32.onnx`."""
    with quiet():
        program = torch.onnx.export(case.module(), (torch.from_numpy(case.floats),), dynamo=True, verbose=False)
    proto = program.model_proto
    del proto.graph.value_info[:]  # shapes noted by the exporter are wrong once Gemm was turned into MatMul
    onnx.save(proto, folder / "fp32.onnx")
    return folder / "fp32.onnx"
