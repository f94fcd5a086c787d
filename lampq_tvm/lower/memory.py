"""Static memory: the values of a straight line of calls share one arena, each at a fixed offset.

A value lives from the call that writes it to the last call that reads it; values that live at the same time never overlap.
An output that may be written over an input takes its place where nobody reads that input later: a residual stream stays where
it is through the whole network. Knows nothing of kernels or targets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

ALIGNMENT = 64  # bytes; the runtime takes a tensor's pointer only at such an offset


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes:
        value: the value it writes.
        reads: the values it reads, and others that do not matter here.
        size: bytes of its value.
        over: the value that its own may be written over; None where there is none.
    """

    value: str
    reads: tuple[str, ...]
    size: int
    over: str | None = None


@dataclass(frozen=True)
class Arena:
    """Where values lie.

    Attributes:
        size: bytes of the arena.
        offsets: of each value, a multiple of `ALIGNMENT`.
    """

    size: int
    offsets: dict[str, int]


@dataclass
class _Place:
    """Values in one place, one written over the other: first and last call that touches them, bytes rounded up."""

    values: list[str]
    size: int
    first: int
    last: int
    offset: int = -1


ORDERS: tuple[Callable[[_Place], tuple[int, ...]], ...] = (
    lambda place: (-place.size, place.first),
    lambda place: (-place.size * (place.last - place.first + 1), place.first),
    lambda place: (place.first - place.last, -place.size, place.first),
    lambda place: (place.first, -place.size),
)


def plan_memory(steps: Sequence[Step], apart: Collection[str] = ()) -> Arena:
    """Offsets of all values but those `apart`, which have memory of their own.

    The smallest of a few first-fit packings; never smaller than the largest sum of values that live at once, never larger than
    the sum of all, nor than a value and twice all those that live with it at any time, for the value where that is most (packed
    from the largest on, a gap that is left free below a value is smaller than the values around it).
    """
    places = _places(steps, apart)
    least = max((sum(p.size for p in places if p.first <= t <= p.last) for t in range(len(steps))), default=0)
    best: Arena | None = None
    for order in ORDERS:
        found = _pack(sorted(places, key=order))
        if best is None or found.size < best.size:
            best = found
        if best.size == least:
            break
    return best or Arena(0, {})


def _places(steps: Sequence[Step], apart: Collection[str]) -> list[_Place]:
    """Values that are written over each other together, with the calls between which they live."""
    last = {name: t for t, step in enumerate(steps) for name in (step.value, *step.reads)}
    places: dict[str, _Place] = {}
    for t, step in enumerate(steps):
        if step.value in apart:
            continue
        size = -(-step.size // ALIGNMENT) * ALIGNMENT
        place = places.get(step.over or "")
        if step.over is not None and place is not None and place.size == size and last[step.over] == t:
            place.values.append(step.value)
        else:
            place = _Place([step.value], size, t, t)
        place.last = last[step.value]
        places[step.value] = place
    return list({id(place): place for place in places.values()}.values())


def _pack(places: Sequence[_Place]) -> Arena:
    """Each place in turn at the lowest offset where nothing that lives with it lies."""
    placed: list[_Place] = []
    for place in places:
        beside = [p for p in placed if p.first <= place.last and place.first <= p.last]
        place.offset = 0
        for other in sorted(beside, key=lambda p: p.offset):
            if other.offset >= place.offset + place.size:
                break
            place.offset = max(place.offset, other.offset + other.size)
        placed.append(place)
    size = max((p.offset + p.size for p in placed), default=0)
    return Arena(size, {value: p.offset for p in placed for value in p.values})
