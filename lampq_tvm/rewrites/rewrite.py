"""What a rewrite is, and where they are found by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.seen import Seen
from lampq_tvm.registry import Registry


class Rewrite(Protocol):
    """Changes a float model so that it quantizes better; the function that it computes stays the same."""

    def __call__(self, model: ImportedModel, seen: Seen, /) -> tuple[ImportedModel, Seen | None]:
        """(the changed model, what the images would show of it; None: they have to be looked at again).

        Neither argument is changed.
        """


REWRITES: Registry[str, Rewrite] = Registry("rewrite", "lampq_tvm.rewrites")


def rewritten(
    model: ImportedModel, seen: Seen, names: Sequence[str], observed: Callable[[ImportedModel, str], Seen]
) -> tuple[ImportedModel, Seen]:
    """A model and its statistics after some rewrites, one after another.

    Args:
        observed: looks at the images again, for a rewrite that cannot tell what they show; called with the changed model and
            the names of the rewrites behind it.

    Raises:
        UsageError: there is none of a name.
    """
    for i, name in enumerate(names, 1):
        model, known = REWRITES.find(name)(model, seen)
        seen = observed(model, "+".join(names[:i])) if known is None else known
    return model, seen
