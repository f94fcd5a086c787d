"""The latency table: what each layer costs at each pair of widths, and where each figure comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from lampq_tvm.device.times import Timing as Timing
from lampq_tvm.errors import CorruptError
from lampq_tvm.files import Schema, read_json
from lampq_tvm.store import write_atomic


class LayerLatency(Schema):
    """Times of one layer by `"w/a"` (`"4/8"`), for every candidate pair."""

    name: str
    pairs: dict[str, Timing]


class LatencyTable(Schema):
    """Times of a model on a device, a JSON file that a person may edit.

    Attributes:
        target, device: names; threads: cores used; clocks_mhz: of the cores or the GPU right after measuring, where readable.
        layers: the layers whose widths are chosen.
        fixed: operators whose time no plan changes (attention, LayerNorm, ...).
        whole_ms: measured time of the whole 8/8 model; float_ms: of the float baseline, for budgets like `0.6x`: the model in
            torch on this machine, in float32 kernels on a board (`floats.py`), in float16 kernels on a GPU.
    """

    version: Literal[1] = 1
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
            CorruptError: it is none. UnsupportedError: a newer version made it.
        """
        return read_json(Path(path), LatencyTable, "the latency table", unreadable=CorruptError, hint="run lampq measure")
