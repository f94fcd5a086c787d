"""The latency table: what each layer costs at each pair of widths, and where each figure comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic

from lampq_tvm.errors import CorruptError
from lampq_tvm.store import write_atomic


class Timing(pydantic.BaseModel):
    """Time of one operator for one image.

    Attributes:
        kind: `measured` or `estimated`.
        n: how many samples stand behind the median (0 when estimated).
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    median_ms: float = pydantic.Field(ge=0)
    p95_ms: float = pydantic.Field(ge=0)
    n: int
    kind: str = pydantic.Field(pattern="^(measured|estimated)$")


class LayerLatency(pydantic.BaseModel):
    """Times of one layer by `"w/a"` (`"4/8"`), for every candidate pair."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    name: str
    pairs: dict[str, Timing]


class LatencyTable(pydantic.BaseModel):
    """Times of a model on a device, a JSON file that a person may edit.

    Attributes:
        target, device: names; threads: cores used; clocks_mhz: where readable.
        layers: the layers whose widths are chosen.
        fixed: operators whose time no plan changes (attention, LayerNorm, ...).
        whole_ms: measured time of the whole 8/8 model; float_ms: of the float baseline, for budgets like `0.6x`.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    version: int = 1
    target: str
    device: str
    threads: int
    clocks_mhz: float | None = None
    layers: tuple[LayerLatency, ...]
    fixed: dict[str, Timing] = {}
    whole_ms: Timing | None = None
    float_ms: Timing | None = None
    notes: dict[str, Any] = {}

    def ms(self, layer: str, w_bits: int, a_bits: int) -> float:
        """Median time of a layer at a pair of widths.

        Raises:
            CorruptError: the table has no such entry.
        """
        for row in self.layers:
            if row.name == layer and f"{w_bits}/{a_bits}" in row.pairs:
                return row.pairs[f"{w_bits}/{a_bits}"].median_ms
        raise CorruptError(f"no time for layer {layer!r} at {w_bits}/{a_bits}", where="latency table", hint="run lampq measure")

    def holds(self, layer: str, w_bits: int, a_bits: int) -> bool:
        """Whether there is a time of a layer at a pair of widths."""
        return any(row.name == layer and f"{w_bits}/{a_bits}" in row.pairs for row in self.layers)

    @property
    def fixed_ms(self) -> float:
        """Sum over the operators that no plan changes."""
        return sum(t.median_ms for t in self.fixed.values())

    @property
    def kind(self) -> str:
        """`measured` when every figure is, else `estimated`."""
        timings = [t for row in self.layers for t in row.pairs.values()] + list(self.fixed.values())
        return "measured" if all(t.kind == "measured" for t in timings) else "estimated"

    def save(self, path: Path) -> None:
        """Write as indented JSON."""
        write_atomic(path, (json.dumps(self.model_dump(), indent=1) + "\n").encode())

    @staticmethod
    def load(path: Path) -> LatencyTable:
        """Read a table.

        Raises:
            CorruptError: it is none.
        """
        try:
            return LatencyTable.model_validate_json(Path(path).read_bytes())
        except (OSError, ValueError) as e:
            raise CorruptError(f"not a latency table ({str(e).splitlines()[0]})", where=str(path)) from e
