"""What stays float: the kernels that TVM makes of it, and the normalized image."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from tvm.tirx import PrimFunc

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.image import build_normalized
from lampq_tvm.lower.context import Context
from lampq_tvm.lower.kernel import Arguments, Call
from lampq_tvm.lower.operators import RULES
from lampq_tvm.quantize.operators.float_part import QFloatPart, QNormalized
from lampq_tvm.store import digest

if TYPE_CHECKING:
    from lampq_tvm.parts.kernels import Step

KEPT = 256  # parts whose kernels are remembered: times of each width are asked for of the same parts


@RULES.register(QFloatPart)
def lower_part(op: QFloatPart, c: Context) -> list[Call]:
    """Its kernels in order."""
    steps = _Part(op, op.constants(c.tensors), c.batch, c.isa).steps()
    names = [*op.inputs, *(f"{op.name}.{i}" for i in range(len(steps) - 1)), op.name]
    calls: list[Call] = []
    stored: dict[str, np.ndarray] = {}
    for i, step in enumerate(steps):
        arguments = Arguments()
        for read in step.reads:
            if isinstance(read, int):
                arguments.value(names[read])
            else:
                field = f"{op.name}.k{len(stored)}"
                stored[field] = read
                arguments.arrays(field)
        own = {str(recipe["tensor"]): stored[str(recipe["tensor"])] for recipe in arguments.recipes}
        build, name = functools.partial(_built, step.function), names[len(op.inputs) + i]
        calls.append(arguments.call(step.name, build, name, step.shape, step.dtype).storing(own))
    return calls


def _built(function: PrimFunc) -> PrimFunc:
    return function


class _Part:
    """A part with all that its kernels depend on, by which they are remembered."""

    def __init__(self, op: QFloatPart, constants: dict[str, np.ndarray], images: int, isa: str) -> None:
        self.op, self.constants, self.images, self.isa = op, constants, images, isa
        rows = [[node.target, node.args, node.kwargs] for node in op.nodes]
        arrays = [x for item in sorted(constants.items()) for x in item]
        self.key = digest(rows, op.ins, op.out, images, isa, *arrays)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and self.key == other.key

    @functools.lru_cache(maxsize=KEPT)  # noqa: B019  (parts are equal by their content)
    def steps(self) -> list[Step]:
        """Calls of kernels (`parts.kernels`)."""
        from lampq_tvm.parts.kernels import part_steps

        constants = {field: torch.from_numpy(np.array(value)) for field, value in self.constants.items()}
        try:
            return part_steps(self.op.nodes, self.op.ins, constants, self.images, self.isa)
        except UnsupportedError as e:
            raise UnsupportedError(e.what, where=self.op.name, hint="lampq doctor lists what stays float") from e


@RULES.register(QNormalized)
def lower_normalized(op: QNormalized, c: Context) -> list[Call]:
    """Pixels to the network's own input."""
    spec = c.input
    image = (c.batch, spec.channels, spec.height, spec.width)
    arguments = Arguments().value("image").arrays(f"{op.name}.scale", f"{op.name}.shift")
    name, shape = "normalized_" + "x".join(map(str, image)), (math.prod(image[:-1]), image[-1])
    return [arguments.call(name, lambda: build_normalized(*image, c.isa), op.name, shape, "float32")]
