"""How times are judged: samples of a device's own timer, or one count of what an emulated core executes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pydantic

from lampq_tvm.files import Schema


class Timing(Schema):
    """Time of one operator or network for one call.

    Attributes:
        kind: `measured` or `estimated`.
        n: how many samples stand behind the median (0 when estimated).
    """

    median_ms: float = pydantic.Field(ge=0)
    p95_ms: float = pydantic.Field(ge=0)
    n: int
    kind: str = pydantic.Field(pattern="^(measured|estimated)$")


@dataclass(frozen=True)
class Times:
    """How the times of a kind of device come about.

    Attributes:
        kind: `measured`, or `estimated` from counts.
        unit: what the device itself gives.
    """

    kind: Literal["measured", "estimated"]
    unit: str

    @property
    def counted(self) -> bool:
        """Whether nothing is timed: a board is played, whose outputs are its own, and whose instructions are counted."""
        return self.kind == "estimated"

    def of(self, samples_ms: Sequence[float] | np.ndarray) -> Timing:
        """Median and 95th percentile of samples; an estimate is one figure, the same every time, and stands on no sample."""
        median, p95 = (float(np.percentile(np.asarray(samples_ms), q)) for q in (50, 95))
        return Timing(median_ms=median, p95_ms=p95, n=0 if self.counted else len(samples_ms), kind=self.kind)


MEASURED = Times("measured", "ms")
COUNTED = Times("estimated", "cycles")


def added(timings: Sequence[tuple[Timing, int]]) -> Timing:
    """Time of parts that run one after another, each some number of times; `measured` where every part is."""
    kind = "measured" if all(t.kind == "measured" for t, _ in timings) else "estimated"
    median, p95 = (sum(count * getattr(t, name) for t, count in timings) for name in ("median_ms", "p95_ms"))
    return Timing(median_ms=median, p95_ms=p95, n=min((t.n for t, _ in timings), default=0), kind=kind)
