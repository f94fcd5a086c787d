"""Layers whose widths are fixed or bounded before the program is solved: `head=8/8`, `*.fc2=4..8/8`, `blocks.0.*=6..8`."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from lampq_tvm.errors import UsageError

FORM = re.compile(r"(?P<pattern>[^=\s]+)=(?P<w>[2-8](?:\.\.[2-8])?)(?:/(?P<a>[2-8](?:\.\.[2-8])?))?")
Pair = tuple[int, int]
HINT = "write PATTERN=W/A, each a width of 2 to 8 or two of them as in 4..8, for example '*.fc2=4..8/8'"
WHERE = "--bits"


@dataclass(frozen=True)
class Held:
    """Widths of the layers that a pattern matches.

    Attributes:
        w, a: smallest and largest width of weights and of activations.
    """

    pattern: str
    w: Pair
    a: Pair

    def matches(self, name: str) -> bool:
        """Whether a layer is meant."""
        return fnmatch.fnmatchcase(name, self.pattern)

    def allows(self, pair: Pair, reads_image: bool) -> bool:
        """Whether a layer may have these widths; the image's are not asked about."""
        return self.w[0] <= pair[0] <= self.w[1] and (reads_image or self.a[0] <= pair[1] <= self.a[1])


def parse_held(text: str) -> Held:
    """What a text says.

    >>> parse_held("*.fc2=4..8/8")
    Held(pattern='*.fc2', w=(4, 8), a=(8, 8))
    >>> parse_held("head=8").a
    (2, 8)

    Raises:
        UsageError: it is not of the form.
    """
    found = FORM.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} does not say which layers have which widths", where=WHERE, hint=HINT)
    w, a = _ends(found["w"]), (2, 8) if found["a"] is None else _ends(found["a"])
    if w[0] > w[1] or a[0] > a[1]:
        raise UsageError(f"{text!r} has its ends the wrong way round", where=WHERE, hint=HINT)
    return Held(found["pattern"], w, a)


def _ends(text: str) -> Pair:
    first, _, last = text.partition("..")
    return int(first), int(last or first)
