"""What a rewrite is, and where they are found by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.seen import Seen
from lampq_tvm.registry import Registry


class Rewrite(Protocol):
    """Changes a float model so that it quantizes better; the function that it computes stays the same."""

    def __call__(self, model: ImportedModel, seen: Seen, /) -> tuple[ImportedModel, Seen]:
        """(the changed model, what the images would show of it). Neither argument is changed."""


REWRITES: Registry[str, Rewrite] = Registry("rewrite", "lampq_tvm.rewrites")


def rewritten(model: ImportedModel, seen: Seen, names: Sequence[str]) -> tuple[ImportedModel, Seen]:
    """A model and its statistics after some rewrites, one after another.

    Raises:
        UsageError: there is none of a name.
    """
    for name in names:
        model, seen = REWRITES.find(name)(model, seen)
    return model, seen
