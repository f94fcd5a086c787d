"""A new kind of device is one file in the folder of the kinds: every verb that takes a device takes it then."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lampq_tvm.device import kinds
from lampq_tvm.device.session import device_info
from lampq_tvm.latency.table import LatencyTable
from tests.cli.conftest import FEW, MODEL

FOLDER = Path(__file__).parent / "new_device"
DEVICE = "spawn://one"


@pytest.fixture(autouse=True)
def spawned(monkeypatch):
    """The folder of the kinds with one file more."""
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(FOLDER)])
    yield
    module = sys.modules.pop("lampq_tvm.device.kinds.spawned", None)
    if module is not None:
        kinds.KINDS._entries.pop("spawn")
        for server, _, _ in module.RUNNING.values():
            server.stdin.close()
            assert server.wait(60) == 0
            server.stdout.close()


@pytest.fixture
def artifact(lampq, data, tmp_path):
    path = tmp_path / "a.lampq"
    assert lampq("compile", *MODEL, *FEW, "--data", data, "--budget", "8bit", "-o", path).code == 0
    return path


def last(found):
    assert found.code == 0, found.err
    return json.loads(found.out.splitlines()[-1])


def test_every_verb_takes_it(lampq, artifact, data, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(3, 1, 16, 16)).astype(np.float32))
    common = ["run", artifact, "--input", tmp_path / "x.npy"]
    assert lampq(*common, "--output", tmp_path / "here.npy").code == 0
    assert lampq(*common, "--output", tmp_path / "there.npy", "--device", DEVICE).code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "there.npy"), np.load(tmp_path / "here.npy"))
    assert last(lampq("eval", artifact, "--data", data, "--device", DEVICE, "--json"))["n"] == 16

    timed = last(lampq("bench", artifact, "--device", DEVICE, "--repeat", "5", "--json"))
    assert (timed["device"], timed["kind"], timed["n"], timed["peak_rss_bytes"]) == (DEVICE, "measured", 5, None)
    assert 0 < timed["median_ms"] <= timed["p95_ms"]

    assert last(lampq("device", "doctor", DEVICE, "--json"))["identity"] == device_info()["identity"]
    rows = {row["device"]: row for row in last(lampq("device", "list", "--json"))["devices"]}
    assert rows["spawn://name"]["times"] == "measured, ms"


def test_its_table_serves_every_budget_of_time(lampq, data, tmp_path):
    """Times are measured there, the float model's too; a share of that is kept or refused like any budget."""
    request = [*MODEL, *FEW, "--data", data]
    assert lampq("measure", *MODEL, "--data", data, "--device", DEVICE, "-o", tmp_path / "t.json").code == 0
    table = LatencyTable.load(tmp_path / "t.json")
    assert (table.device, table.kind, table.float_ms.kind) == (DEVICE, "measured", "measured")
    assert table.float_ms.n > 0 and table.float_ms.median_ms > 0
    given = ["plan", *request, "--latency-table", tmp_path / "t.json", "-o", tmp_path / "p.json"]
    assert lampq(*given, "--budget", "1000x").code == 0
    refused = lampq(*given, "--budget", "0.0001x")
    assert refused.code == 4 and "x instead of 0.0001x" in refused.line


def test_what_is_none_is_refused_with_the_nearest(lampq):
    found = lampq("bench", "x.lampq", "--device", "spwan://one")
    assert found.code == 2 and "use spawn://name" in found.line
    found = lampq("bench", "x.lampq", "--device", "spawn://")
    assert found.code == 2 and "not a device" in found.line
