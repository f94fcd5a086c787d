"""The torch reference: what the board will compute, bit for bit where no layer is float, for many images at once."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.network.execute import one_output
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.reference_rules import RULES

Pixels = npt.NDArray[np.uint8]
Values = dict[str, npt.NDArray[Any]]
CHUNK = 32  # images at a time: small enough for the caches, and no result depends on it


@overload
def run_reference(qm: QuantizedModel, pixels: Pixels, *, values: Literal[False] = False) -> npt.NDArray[np.float32]: ...
@overload
def run_reference(qm: QuantizedModel, pixels: Pixels, *, values: Literal[True]) -> Values: ...
@torch.no_grad()
def run_reference(qm: QuantizedModel, pixels: Pixels, *, values: bool = False) -> npt.NDArray[np.float32] | Values:
    """Run the integer network.

    Args:
        qm: the network.
        pixels: [B, C, H, W] uint8 at the model's size.
        values: whether to return every operator's output instead of the logits alone.

    Returns:
        Logits [B, classes] or features [B, ...] float32, several outputs as one [B, numbers]; with `values`, int8 codes,
        float16 and float32 arrays by operator name.
    """
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in qm.tensors.items()}
    wanted = [op.name for op in qm.ops] if values else list(dict.fromkeys(qm.outputs))
    parts = [_run_chunk(qm, tensors, pixels[i : i + CHUNK], wanted) for i in range(0, max(1, len(pixels)), CHUNK)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in wanted}
    if values:
        return {name: value.numpy() for name, value in joined.items()}
    return one_output([joined[name] for name in qm.outputs]).numpy()


def _run_chunk(qm: QuantizedModel, tensors: dict[str, Tensor], pixels: Pixels, wanted: list[str]) -> dict[str, Tensor]:
    """The `wanted` values of a few images."""
    found = {"image": (torch.from_numpy(np.array(pixels)).short() - 128).to(torch.int8)}
    for op in qm.ops:
        found[op.name] = run_op(op, op.constants(tensors), [found[name] for name in op.inputs])
    return {name: found[name] for name in wanted}


def run_op(op: QOp, t: dict[str, Tensor], x: list[Tensor]) -> Tensor:
    """Output of one operator from its constants `t`, by field, and its inputs `x`.

    Raises:
        UnsupportedError: the operator has no rule.
    """
    return op.rule(RULES, "the arithmetic table has no rule for this operator")(op, t, x)
