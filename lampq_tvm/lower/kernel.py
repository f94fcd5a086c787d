"""What lowering makes of an operator: calls of TIR kernels, with recipes for their constant arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tvm.tirx import PrimFunc

from lampq_tvm.kinds import Encode
from lampq_tvm.lower.memory import Step

Recipe = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One kernel call.

    Attributes:
        kernel: the kernel's global name; calls of equal names share one kernel.
        build: makes the kernel.
        value: name of the value it writes.
        recipes: how the runtime makes the constant arguments.
        shape, dtype: of the output.
        order: the arguments in order: names of values that it reads, or indices into recipes.
        over: the value that it may write its own over: element by element, each read before it is written.
        stored: arrays that the payload holds for it beside the network's, by the names that recipes have for them.
    """

    kernel: str
    build: Callable[[], PrimFunc]
    value: str
    order: tuple[str | int, ...]
    recipes: tuple[Recipe, ...]
    shape: tuple[int, ...]
    dtype: str
    over: str | None = None
    stored: Mapping[str, np.ndarray] = field(default_factory=dict)

    def storing(self, stored: Mapping[str, np.ndarray]) -> Call:
        """The same call with arrays of its own."""
        return replace(self, stored=stored)

    @property
    def step(self) -> Step:
        """What memory planning knows of it."""
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return Step(self.value, tuple(a for a in self.order if isinstance(a, str)), size, self.over)


@dataclass
class Arguments:
    """Collects a call's arguments in order: values by name, constants by recipe."""

    order: list[str | int] = field(default_factory=list)
    recipes: list[Recipe] = field(default_factory=list)

    def value(self, name: str) -> Arguments:
        """The value `name`."""
        self.order.append(name)
        return self

    def recipe(self, **recipe: Any) -> Arguments:
        """A constant."""
        self.order.append(len(self.recipes))
        self.recipes.append(recipe)
        return self

    def arrays(self, *tensors: str) -> Arguments:
        """Payload tensors as they are."""
        for tensor in tensors:
            self.recipe(**{"from": "array", "tensor": tensor})
        return self

    def encode(self, name: str, encode: Encode) -> Arguments:
        """How an operator's codes are stored: its table [256], or lowest and highest code, float32 [2]."""
        if encode.table is not None:
            return self.arrays(f"{name}.table")
        return self.recipe(**{"from": "values", "values": [encode.grid.low, encode.grid.high], "dtype": "float32"})

    def call(
        self,
        kernel: str,
        build: Callable[[], PrimFunc],
        value: str,
        shape: tuple[int, ...],
        dtype: str,
        over: str | None = None,
    ) -> Call:
        """The finished call."""
        return Call(kernel, build, value, tuple(self.order), tuple(self.recipes), shape, dtype, over)
