"""How codes of quantizers with tables travel: on a grid, through a table, in one plane or two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from lampq_tvm.bitplan import uniform_plan
from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kinds import Encode, Kind
from lampq_tvm.oracle.run import run_oracle
from lampq_tvm.quantize.build import quantize
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.quantizers.carried import CODES, carried
from lampq_tvm.quantizers.half import Float16
from lampq_tvm.quantizers.protocol import Affine, Levels, Quantizer
from lampq_tvm.quantizers.symmetric import SymmetricHeads
from lampq_tvm.quantizers.uniform import Uniform
from tests.quantize.tiny import tiny_calibration, tiny_images
from tests.quantizers.tabled import Powers, Squares


def test_uniform_codes_travel_as_they_are():
    y = carried(Uniform(4, 0.5, -3))
    assert (y.kind, y.encode, y.peak, y.scale, y.zero) == (Kind.INT4, Encode(Kind.INT4), 8, 0.5, -3)
    assert y.tensors == {} and y.planes == () and y.entries(np.zeros(1)).tolist() == [-3]
    half = carried(Float16())
    assert (half.kind, half.encode, half.scale, half.zero) == (Kind.FLOAT16, Encode(Kind.FLOAT16), 1, 0)


@dataclass(frozen=True)
class Shifted(Quantizer):
    """x is about 2^shift * code: evenly spaced, and no relative of `Uniform`."""

    bits: int
    shift: int

    @classmethod
    def candidates(cls, low: float, high: float, bits: int, fractions: Sequence[float] = (1.0,)) -> list[Shifted]:
        last = (1 << (bits - 1)) - 1
        return [cls(bits, int(np.ceil(np.log2(max(-low, high, 1e-6) * fraction / last)))) for fraction in fractions]

    @property
    def kind(self) -> Kind:
        return Kind.of_codes(self.bits)

    def encode(self, x):
        codes = np.rint(np.asarray(x, np.float64) * 2.0**-self.shift)
        return np.clip(codes, self.kind.low, self.kind.high).astype(np.int8)

    @property
    def decoder(self) -> Affine:
        return Affine(2.0**self.shift)


def ends(quantizer):
    """Smallest and largest value of any quantizer of activations."""
    far = quantizer.values(quantizer.encode([-1e6, 1e6]))
    return float(far[0]), float(far[1])


def test_any_evenly_spaced_codes_travel_as_they_are():
    y = carried(Shifted(5, -3))
    assert (y.kind, y.encode, y.peak, y.scale, y.zero) == (Kind.INT5, Encode(Kind.INT5), 16, 0.125, 0)
    calibration = tiny_calibration("windows")
    shifted = {
        name: {b: Shifted.candidates(*ends(q), b)[0] for b, q in by_bits.items()}
        for name, by_bits in calibration.activations.items()
    }
    qm = quantize(dataclasses.replace(calibration, activations=shifted), uniform_plan(calibration.model, 6, 8))
    ours, wanted = run_oracle(qm, tiny_images(4)), run_reference(qm, tiny_images(4))
    assert np.array_equal(ours[qm.output], wanted)
    plain = run_reference(quantize(calibration, uniform_plan(calibration.model, 6, 8)), tiny_images(4))
    assert 0 < np.linalg.norm(wanted - plain) < 0.1 * np.linalg.norm(plain)


def test_an_activation_of_many_scales_is_refused():
    with pytest.raises(UnsupportedError, match="symmetric_heads has more than one scale for an activation"):
        carried(SymmetricHeads(4, np.ones(3)))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_levels_of_8_bits_are_what_products_multiply(bits):
    found = Squares(bits, 3.0)
    y = carried(found)
    assert (y.kind, y.encode, y.zero) == (Kind.INT8, Encode(Kind.INT8, Kind.INT8), 0) and y.planes == ()
    table = y.tensors["table"]
    assert table.dtype == np.int8 and table.shape == (256,) and len(np.unique(table)) <= 2**bits
    real = y.grid.values(CODES)
    assert np.allclose(y.scale * table, found.values(found.encode(real)))
    assert np.abs(y.scale * table - real).max() <= 0.51 * np.diff(found.values(np.arange(2**bits))).max()


def test_levels_of_16_bits_are_two_planes():
    found = Powers(4, 3.0)
    y = carried(found)
    assert y.wide and y.kind is Kind.INT8 and y.peak == 128
    high, low = y.planes
    real = np.linspace(0, 3, 500)
    stored = y.entries(real).astype(int) + 128
    assert np.allclose(y.scale * (256 * high[stored].astype(int) + low[stored]), found.values(found.encode(real)))
    levels = 256 * high[:16].astype(int) + low[:16]
    assert len(np.unique(levels)) == 16 and len(np.unique(np.rint(levels / 256))) <= 9  # int8 would flatten it
    assert y.entries(np.zeros(1)).tolist() == [15 - 128]


def test_levels_beyond_two_planes_are_refused(monkeypatch):
    monkeypatch.setattr(Powers, "decoder", property(lambda self: Levels(np.array([0, 32767], np.int16), 1.0)))
    with pytest.raises(UnsupportedError, match="powers has levels beyond what two planes of int8 hold"):
        carried(Powers(4, 1.0))
