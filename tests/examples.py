"""How many examples a property is tried with: always the same ones, and new ones each time in `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import Phase, settings

FUZZ = "LAMPQ_FUZZ" in os.environ  # set by `make fuzz`


def examples(count: int) -> settings:
    """So many examples of a property that compiles kernels: shrinking a failure would take hours and is left out."""
    phases = [Phase.explicit, Phase.generate]
    return settings(max_examples=count, deadline=None, derandomize=not FUZZ, database=None, phases=phases)


def quick_examples(count: int) -> settings:
    """So many examples of any other property."""
    return settings(max_examples=count, deadline=None, derandomize=not FUZZ, database=None)
