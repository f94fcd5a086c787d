"""The classes that the counter sorts instructions into, in its order (classes.h), and what a counted call gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = (
    "other",
    "branch",
    "integer",
    "multiply",
    "load",
    "load_vector",
    "load_vectors",
    "load_many",
    "store",
    "store_vector",
    "store_vectors",
    "dot",
    "matrix",
    "vector_multiply",
    "multiply_long",
    "shift",
    "vector",
    "permute",
    "zip",
    "table",
    "float",
    "divide",
    "convert",
    "transfer",
)
# Slots of one virtual CPU in the counter's file, and how many CPUs it has. The row's last slot holds estimated cycles.
ROW, CPUS = 32, 128
CYCLES, FRACTION = ROW - 1, 1024


@dataclass(frozen=True)
class Block:
    """A run of instructions that is left at its end.

    Attributes:
        executions: how often it ran.
        words: its instructions, A64 words.
        classes: how many of them are of each class.
    """

    executions: int
    words: tuple[int, ...]
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Counted:
    """What one call gave.

    Attributes:
        outputs: arrays that the kernel wrote.
        classes: instructions of the call by class, in the order of `CLASSES`.
        cycles: estimated ones (cost.py); None for a core without figures.
        blocks: the library's executed blocks, where they were asked for.
        tasks: instructions of each parallel loop's tasks, where it was split.
    """

    outputs: tuple[np.ndarray, ...]
    classes: tuple[int, ...]
    cycles: float | None
    blocks: tuple[Block, ...] = ()
    tasks: tuple[tuple[int, ...], ...] = ()

    @property
    def instructions(self) -> int:
        """Of all classes."""
        return sum(self.classes)
