"""What a layer may choose from where its widths are held by a pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lampq_tvm.errors import UsageError
from lampq_tvm.network.model import Layer
from lampq_tvm.recipes.held import WHERE, Held
from lampq_tvm.sensitivity.pairs import Pair


def held_choices(layers: Sequence[Layer], choices: list[list[Pair]], held: Sequence[Held], widths: Iterable[int]) -> None:
    """Leave each layer the pairs that the last pattern that matches it allows.

    Where none of a layer's pairs is allowed, it may take any pair that is, whatever the rule that pairs widths up.

    Raises:
        UsageError: a pattern matches no layer.
    """
    names = [layer.name for layer in layers]
    for one in held:
        if not any(one.matches(name) for name in names):
            near = ", ".join(names[:3])
            raise UsageError(f"no layer is called {one.pattern!r}", where=WHERE, hint=f"there are {near}, ...")
    down = sorted(widths, reverse=True)
    for i, layer in enumerate(layers):
        own = [one for one in held if one.matches(layer.name)]
        if own:
            allowed = [pair for pair in choices[i] if own[-1].allows(pair, layer.reads_image)]
            every = [(w, a) for w in down for a in down if own[-1].allows((w, a), layer.reads_image)]
            choices[i] = allowed or every
