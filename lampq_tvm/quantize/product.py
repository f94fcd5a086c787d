"""A layer under a plan: its weights and the affine map from its sums to real outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lampq_tvm.bitplan import LayerPlan
from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.planned import planned_bias, planned_codes
from lampq_tvm.network.pixels import layer_weight, pixel_units
from lampq_tvm.quantize.constants import check_range, output_affine, pixel_affine
from lampq_tvm.quantizers.asymmetric import AsymmetricWeights
from lampq_tvm.quantizers.carried import Carried, carried
from lampq_tvm.quantizers.half import Float16, HalfWeights
from lampq_tvm.quantizers.twin_log import TOP, TwinLogWeights
from lampq_tvm.quantizers.uniform import Uniform
from lampq_tvm.quantizers.weights import Weights

F64 = npt.NDArray[np.float64]
PIXELS = carried(Uniform(bits=8, scale=1.0, zero=-128))
HALF = carried(Float16())


@dataclass(frozen=True)
class Product:
    """Weights [N, K] and y = S acc + B, both [N] float64.

    Attributes:
        codes: what is multiplied: int8 or float16.
        zero: [N] int8 of codes with zero points; None where there are none.
        levels: [2^bits] int8 that codes stand for; None where they stand for themselves.
    """

    codes: npt.NDArray[Any]
    S: F64
    B: F64
    zero: npt.NDArray[np.int8] | None = None
    levels: npt.NDArray[np.int8] | None = None

    @property
    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Tensors of an operator's weights."""
        found = {"w": self.codes, "zero": self.zero, "levels": self.levels}
        return {name: array for name, array in found.items() if array is not None}

    def times(self, factor: F64) -> Product:
        """The same product with its output multiplied by `factor` [N]."""
        return self.mapped(self.S * factor, self.B * factor)

    def mapped(self, S: F64, B: F64) -> Product:
        """The same weights with another output map."""
        return replace(self, S=S, B=B)


def layer_product(calibration: Calibration, row: LayerPlan) -> Product:
    """The product of a layer at its planned widths.

    Raises:
        UnsupportedError: its sums could leave int32.
    """
    model, op = calibration.model, calibration.model.op(row.name)
    bias = planned_bias(calibration, row.name, row.w_bits).astype(np.float64)
    x = layer_input(calibration, row)
    weights: HalfWeights | Weights
    codes: npt.NDArray[Any]
    zero = levels = None
    if row.is_float:
        real = layer_weight(model, row.name)
        weights = HalfWeights.of_rows(real)
        codes = weights.encode(real)
    else:
        weights = calibration.weights[row.name][row.w_bits]
        codes = weights.multiplied(planned_codes(calibration, row.name, row.w_bits))
        levels = weights.levels if isinstance(weights, TwinLogWeights) else None
        peak = 1 << (row.w_bits - (not weights.zero.any())) if levels is None else TOP
        check_range(codes.shape[1], x.peak, peak, row.name)
        zero = weights.zero.astype(np.int8) if isinstance(weights, AsymmetricWeights) else None
    if op.reads_image:
        return Product(codes, *pixel_affine(codes, weights.scale, bias, pixel_units(model, op.name)[1]), zero, levels)
    return Product(codes, *output_affine(codes, weights.scale, bias, x), zero, levels)


def layer_input(calibration: Calibration, row: LayerPlan) -> Carried:
    """A layer's input at its planned width; the image's codes are pixels minus 128."""
    if row.reads_image:
        return PIXELS
    return HALF if row.is_float else carried(calibration.activations[row.name][row.a_bits])
