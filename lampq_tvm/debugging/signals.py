"""What an artifact's layers read, beside what the float model's read: noise, direction, saturated codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.bitplan import LayerPlan
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.quantizers.carried import PLANE, Carried, carried
from lampq_tvm.quantizers.half import Float16
from lampq_tvm.quantizers.protocol import QUANTIZERS, Described, Quantizer

F64 = npt.NDArray[np.float64]
Values = Mapping[str, npt.NDArray[Any]]


@dataclass
class Signal:
    """Sums over all elements of what a layer reads: x in the float model, y in the artifact.

    Attributes:
        xx, yy, xy: of squares and products.
        outside: elements x beyond the range of the layer's codes, by more than half a step.
        count: elements.
    """

    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    outside: int = 0
    count: int = 0

    def add(self, x: F64, y: F64, low: float, high: float) -> None:
        """Some images more; x and y of the same size."""
        self.xx, self.yy, self.xy = self.xx + float(x @ x), self.yy + float(y @ y), self.xy + float(x @ y)
        self.outside, self.count = self.outside + int(((x < low) | (x > high)).sum()), self.count + x.size

    @property
    def snr_db(self) -> float | None:
        """10 log10(|x|^2 / |y - x|^2); None where nothing was seen, or nothing is lost."""
        noise = self.xx - 2 * self.xy + self.yy
        return 10 * float(np.log10(self.xx / noise)) if self.xx > 0 and noise > 1e-12 * self.xx else None

    @property
    def cosine(self) -> float | None:
        """x y / (|x| |y|)."""
        size = float(np.sqrt(self.xx * self.yy))
        return self.xy / size if size else None

    @property
    def saturated(self) -> float | None:
        """Share of elements that lie outside."""
        return self.outside / self.count if self.count else None


def input_quantizer(described: Described) -> Quantizer | None:
    """The quantizer that a manifest tells of; None where it leaves out some of its parameters.

    Raises:
        UsageError: there is none of that name.
    """
    arrays = {name: np.asarray(value) for name, value in described.items() if name != "name"}
    kind = QUANTIZERS.find(str(described["name"]), where="the manifest")
    needed = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind.from_arrays(arrays) if set(arrays) == needed else None


def value_range(quantizer: Quantizer) -> tuple[float, float]:
    """Smallest and largest value that codes stand for, and half a step beyond them: what lies further out is cut off."""
    if isinstance(quantizer, Float16):
        return -np.inf, np.inf
    y = carried(quantizer)
    codes = np.arange(y.kind.low, y.kind.high + 1) if y.levels is None else np.arange(len(y.levels))
    values = np.unique(quantizer.values(codes))
    steps = np.diff(values) / 2 if len(values) > 1 else np.zeros(1)
    return float(values[0] - steps[0]), float(values[-1] + steps[-1])


def read_by(model: ImportedModel, row: LayerPlan, quantizer: Quantizer, trace: Values) -> F64 | None:
    """What a layer of the artifact reads, as real numbers, flat; None where no value of the artifact holds it.

    Args:
        row: the layer; one that reads the image has codes that are exact.
        trace: the artifact's values by name.
    """
    value, y = model.op(row.name).inputs[0], carried(quantizer)
    if y.wide:
        planes = [trace.get(f"{row.name}.{plane}") for plane in ("high", "low")]
        codes = None if planes[0] is None or planes[1] is None else PLANE * planes[0].astype(np.int64) + planes[1]
    else:
        names = (f"{row.name}.codes", f"{value}.{row.name}", value)
        codes = next((trace[name] for name in names if name in trace and trace[name].dtype != np.float32), None)
    return None if codes is None else _real(codes, y)


def _real(codes: npt.NDArray[Any], y: Carried) -> F64:
    """The values [elements] of what is multiplied."""
    return ((codes.astype(np.float64) - y.zero) * y.scale).ravel()
