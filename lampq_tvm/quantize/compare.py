"""An artifact of a network with float parts beside its reference: operator by operator, each on the artifact's own inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lampq_tvm.network.op import IMAGE
from lampq_tvm.network.operators.float_part import whole
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators.float_part import QFloatPart
from lampq_tvm.quantize.reference import run_op

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
CLOSE = 1e-4  # of the part's largest value


def has_parts(qm: QuantizedModel) -> bool:
    """Whether anything of a network stays float."""
    return any(isinstance(op, QFloatPart) for op in qm.ops)


def part_errors(qm: QuantizedModel, pixels: Pixels, values: Mapping[str, Array]) -> Iterator[tuple[str, float]]:
    """(float part, its largest difference from the reference, in units of its largest value), in execution order.

    Args:
        qm: the network.
        pixels: [B, C, H, W] uint8.
        values: that the artifact has for them, [B, ...] by operator name.
    """
    for op, expected in _beside(qm, pixels, values):
        if isinstance(op, QFloatPart):
            yield op.name, _error(expected, values[op.name].reshape(expected.shape))


def differences(qm: QuantizedModel, pixels: Pixels, values: Mapping[str, Array]) -> Iterator[str]:
    """What is wrong with an artifact's values: a bit of an integer operator, more than `CLOSE` of a part; as `part_errors`."""
    for op, expected in _beside(qm, pixels, values):
        got = values[op.name].reshape(expected.shape)
        if isinstance(op, QFloatPart):
            error = _error(expected, got)
            if not error <= CLOSE:
                operators = ", ".join(dict.fromkeys(node.operator for node in op.nodes))
                yield f"{op.name} ({operators}) lies {error:.1e} of its largest value away"
        elif differ := int((expected != got).sum()):
            yield f"{differ} of {got.size} values of {op.name} differ"


def _error(expected: Array, got: Array) -> float:
    finite, differ = np.abs(expected[np.isfinite(expected)]), got != expected  # equal infinities do not
    largest = float(finite.max()) if finite.size else 0.0
    away = float(np.abs(got[differ].astype(np.float64) - expected[differ]).max()) if differ.any() else 0.0
    return away / largest if largest else float(away != 0)  # NaN is a difference


@torch.no_grad()
def _beside(qm: QuantizedModel, pixels: Pixels, values: Mapping[str, Array]) -> Iterator[tuple[QOp, Array]]:
    """Each operator with what the reference makes of the artifact's inputs."""
    given = {IMAGE: (pixels.astype(np.int16) - 128).astype(np.int8), **values}
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in qm.tensors.items()}
    for op in qm.ops:
        arrays = [given[name] for name in op.inputs]
        if isinstance(op, QFloatPart):
            arrays = [x.reshape(whole(sizes, len(pixels))) for x, sizes in zip(arrays, op.ins, strict=True)]
        yield op, run_op(op, op.constants(tensors), [torch.from_numpy(np.array(x)) for x in arrays]).numpy()
