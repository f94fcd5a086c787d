"""The latency table of a board that is not at hand: estimates from counted instructions, that add up to the whole model."""

import pytest

from lampq_tvm.device.cost import core_of
from lampq_tvm.errors import DeviceError, OutputError
from lampq_tvm.latency.bench import ASSUMED_IPC, estimated_ms
from lampq_tvm.latency.measure import measure
from lampq_tvm.store import Units
from lampq_tvm.targets import resolve_target
from tests.compiler.networks import calibration


def test_a_table_of_estimates_adds_up(tmp_path):
    target = resolve_target("raspberry-pi-5")
    try:
        table = measure(calibration("one block"), target, "emulated", units=Units(tmp_path))
    except (DeviceError, OutputError) as e:
        pytest.skip(f"no emulated Arm board: {e}")
    assert table.kind == table.whole_ms.kind == "estimated"
    assert table.threads == 1
    assert all(0 < timing.median_ms < 1 for row in table.layers for timing in row.pairs.values())
    # The kernels of so small a network are hardly longer than the calls of the virtual machine around them.
    assert -60 < table.notes["difference_percent"] < 0


def test_milliseconds_come_from_cycles_where_the_core_is_known():
    pi, xavier = resolve_target("raspberry-pi-5"), resolve_target("jetson-agx-xavier:cpu")
    assert core_of(pi.board) is not None
    assert estimated_ms(10, 2.4e6, pi).median_ms == pytest.approx(1.0)
    assert estimated_ms(int(2.26e6 * ASSUMED_IPC), None, xavier).median_ms == pytest.approx(1.0)
    assert estimated_ms(10, 1.0, pi).kind == "estimated"
