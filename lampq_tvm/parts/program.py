"""A part as a program of torch's, for a number of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch.export import ExportedProgram, default_decompositions

from lampq_tvm.network.operators.float_part import Node, Sizes, run_nodes, whole

ATEN = torch.ops.aten
WHOLE = (  # which have converters
    *(ATEN.upsample_bicubic2d, ATEN._upsample_bicubic2d_aa, ATEN._upsample_bilinear2d_aa),
    *(ATEN.upsample_nearest2d, ATEN._upsample_nearest_exact2d),
)
APART = (ATEN.grid_sampler_2d,)  # which TVM takes wrongly


class _Module(nn.Module):
    """The nodes with their constants as buffers."""

    def __init__(self, nodes: Sequence[Node], constants: Mapping[str, Tensor], images: int) -> None:
        super().__init__()
        self.nodes, self.images = nodes, images
        for field, constant in constants.items():
            self.register_buffer(field, constant)

    def forward(self, *x: Tensor) -> Tensor:
        return run_nodes(self.nodes, x, dict(self.named_buffers(remove_duplicate=False)), self.images)


def exported(nodes: Sequence[Node], ins: Sequence[Sizes], constants: Mapping[str, Tensor], images: int) -> ExportedProgram:
    """The part's program, in the operators that `parts.converters` and TVM's importer know.

    Args:
        nodes: the last one gives the output.
        ins: shapes of the inputs.
        constants: by field.
        images: that it is for.
    """
    module = _Module(nodes, constants, images).eval()
    with torch.no_grad():
        program = torch.export.export(module, tuple(torch.zeros(whole(sizes, images)) for sizes in ins), strict=False)
        decomposed: ExportedProgram = program.run_decompositions(_decompositions())
    return decomposed


def _decompositions() -> dict[Any, Any]:
    whole_table: Any = default_decompositions()
    table = {op: rule for op, rule in whole_table.items() if op.overloadpacket not in WHOLE}
    return {**table, **get_decompositions(APART)}
