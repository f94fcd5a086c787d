"""Which quantizers a recipe may name."""

from __future__ import annotations

import difflib

from lampq_tvm.errors import UsageError
from lampq_tvm.recipes.schema import Role

KINDS: dict[Role, tuple[str, ...]] = {
    "weights": ("symmetric",),
    "activations": ("uniform",),
    "probabilities": ("uniform", "log_sqrt2"),
}


def check_kind(role: Role, name: str, where: str) -> None:
    """Refuse a quantizer that there is not for weights, activations or probabilities.

    Raises:
        UsageError: it is unknown; the nearest names are offered.
    """
    known = KINDS[role]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"unknown quantizer of {role} {name!r}", where=where, hint=hint)
