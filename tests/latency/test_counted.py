"""The latency table of a board that is not at hand: estimates from counted instructions, that add up to the whole model."""

import numpy as np
import pytest

from lampq_tvm.allocate.budget import parse_budget
from lampq_tvm.allocate.solve import allocate
from lampq_tvm.calibrate.calibration import WIDTHS
from lampq_tvm.device.cost import core_of
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import DeviceError, InfeasibleError, OutputError
from lampq_tvm.latency.bench import ASSUMED_IPC, estimated_ms
from lampq_tvm.latency.measure import measure
from lampq_tvm.sensitivity.table import Sensitivity
from lampq_tvm.store import Units
from lampq_tvm.targets import resolve_target
from tests.compiler.networks import calibration

pytestmark = pytest.mark.xdist_group("counted table")  # which takes long to make


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    units = Units(tmp_path_factory.mktemp("units"))
    try:
        return measure(calibration("one block"), resolve_target("raspberry-pi-5"), find_device("emulated"), units=units)
    except (DeviceError, OutputError) as e:
        pytest.skip(f"no emulated Arm board: {e}")


def test_a_table_of_estimates_adds_up(table):
    assert table.kind == table.whole_ms.kind == "estimated"
    assert table.threads == 1 and table.device == "emulated" and table.clocks_mhz is None
    assert all(0 < timing.median_ms < 1 for row in table.layers for timing in row.pairs.values())
    # The kernels of so small a network are hardly longer than the calls of the virtual machine around them.
    assert -60 < table.notes["difference_percent"] < 0


def test_a_share_of_the_float_model_is_kept_or_refused(table):
    assert table.float_ms.kind == "estimated" and table.float_ms.n == 0
    model = calibration("one block").model
    names = tuple(layer.name for layer in model.layers)
    nothing = Sensitivity("kl", True, names, WIDTHS, np.zeros((len(names), len(WIDTHS), len(WIDTHS))))

    def plan(text):
        return allocate(model, nothing, [parse_budget(text)], latency=table, allow_estimates=True)

    share = plan("1000x").notes["ms"] / table.float_ms.median_ms
    assert plan(f"{share + 0.001:.4f}x").notes["ms"] <= (share + 0.001) * table.float_ms.median_ms
    with pytest.raises(InfeasibleError, match=r"x instead of 0\.001x"):
        plan("0.001x")
    with pytest.raises(DeviceError, match="estimates"):
        allocate(model, nothing, [parse_budget("1000x")], latency=table)


def test_milliseconds_come_from_cycles_where_the_core_is_known():
    pi, xavier = resolve_target("raspberry-pi-5"), resolve_target("jetson-agx-xavier:cpu")
    assert core_of(pi.board) is not None
    assert estimated_ms(10, 2.4e6, pi).median_ms == pytest.approx(1.0)
    assert estimated_ms(int(2.26e6 * ASSUMED_IPC), None, xavier).median_ms == pytest.approx(1.0)
    assert estimated_ms(10, 1.0, pi).kind == "estimated"
