"""How codes of quantizers with tables travel: on a grid, through a table, in one plane or two."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kinds import Encode, Kind
from lampq_tvm.quantizers.carried import CODES, carried
from lampq_tvm.quantizers.half import Float16
from lampq_tvm.quantizers.protocol import Levels
from lampq_tvm.quantizers.uniform import Uniform
from tests.quantizers.tabled import Powers, Squares


def test_uniform_codes_travel_as_they_are():
    y = carried(Uniform(4, 0.5, -3))
    assert (y.kind, y.encode, y.peak, y.scale, y.zero) == (Kind.INT4, Encode(Kind.INT4), 8, 0.5, -3)
    assert y.tensors == {} and y.planes == () and y.entries(np.zeros(1)).tolist() == [-3]
    half = carried(Float16())
    assert (half.kind, half.encode, half.scale, half.zero) == (Kind.FLOAT16, Encode(Kind.FLOAT16), 1, 0)


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
