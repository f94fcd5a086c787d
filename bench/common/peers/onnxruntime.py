"""ONNX Runtime: float, int8 with scales found at run time, and int8 with calibrated scales (QDQ)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bench.common.peers.case import Case
from bench.common.peers.onnx_export import float_onnx
from bench.common.peers.peer import Peer, Runner
from lampq_tvm.quiet import quiet

# ONNX Runtime has an integer convolution without calibration, which the patch embedding needs, for unsigned weights alone.
DYNAMIC = {
    "int8 dynamic, S8 weights": (QuantType.QInt8, ["MatMul"]),
    "int8 dynamic, U8 weights and patches": (QuantType.QUInt8, ["MatMul", "Conv"]),
}
STATIC: dict[str, list[str] | None] = {
    "int8 static QDQ": None,
    "int8 static QDQ, weighted products alone": ["MatMul", "Gemm", "Conv"],
}


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """A case's calibration images, one at a time."""

    def __init__(self, case: Case, name: str) -> None:
        self.left = iter([{name: image[None]} for image in case.calibration])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image."""
        return next(self.left, None)


def make(case: Case, target: str, folder: Path) -> None:
    """Write its files; the target does not matter."""
    source = float_onnx(case, folder)
    with quiet():
        for label, (weights, operators) in DYNAMIC.items():
            quantize_dynamic(source, folder / named(label), weight_type=weights, op_types_to_quantize=operators)
        for label, kinds in STATIC.items():
            static(case, source, folder / named(label), kinds)


def named(label: str) -> str:
    """File of a variant."""
    return f"{label.replace(' ', '-').replace(',', '')}.onnx"


def static(case: Case, source: Path, path: Path, kinds: list[str] | None) -> None:
    """Write the calibrated int8 form: signed activations and weights, a scale per output channel, as its guide advises.

    Args:
        kinds: operators to quantize; None: all that it can.
    """
    ready = path.with_suffix(".prepared.onnx")
    quant_pre_process(source, ready, skip_symbolic_shape=True)
    graph = onnx.load(ready).graph
    constant = {tensor.name for tensor in graph.initializer}
    products = [n.name for n in graph.node if n.op_type == "MatMul" and not constant & set(n.input)]
    quantize_static(
        ready,
        path,
        Calibration(case, graph.input[0].name),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=kinds,
        nodes_to_exclude=products if kinds else None,
    )
    ready.unlink()


RUNNERS = {label: Runner("onnxruntime", named(label)) for label in ("fp32", *DYNAMIC, *STATIC)}
WHOLE = "int8 static QDQ"
RUNNERS[WHOLE] = Runner("onnxruntime", named(WHOLE), 0.8)  # int8 LayerNorm and residuals lose that much with random weights
PEER = Peer("onnxruntime", RUNNERS, make, ("onnxruntime",))
