"""Clocks of a machine's cores, from Linux's cpufreq."""

from __future__ import annotations

import pytest

from lampq_tvm.device.clocks import clock_mhz, read_cpu_clocks


def core(root, number, **files):
    folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def test_the_fastest_core_counts(tmp_path):
    core(tmp_path, 0, scaling_cur_freq=600000, cpuinfo_max_freq=1800000, scaling_governor="powersave")
    core(tmp_path, 4, scaling_cur_freq=2400000, cpuinfo_max_freq=2400000, scaling_governor="performance")
    found = {"cpu_mhz": 2400.0, "max_cpu_mhz": 2400.0, "governor": "performance", "source": "/sys/devices/system/cpu"}
    assert read_cpu_clocks(tmp_path) == found
    assert clock_mhz(found) == 2400.0


def test_what_cannot_be_read_is_none(tmp_path):
    assert read_cpu_clocks(tmp_path) is None
    core(tmp_path, 0, scaling_cur_freq="<unknown>", cpuinfo_max_freq=1800000)
    core(tmp_path, 1)
    assert read_cpu_clocks(tmp_path) is None
    core(tmp_path, 2, scaling_cur_freq=700000)
    assert read_cpu_clocks(tmp_path) == {
        "cpu_mhz": 700.0, "max_cpu_mhz": None, "governor": None, "source": "/sys/devices/system/cpu"
    }  # fmt: skip


@pytest.mark.parametrize(("clocks", "mhz"), [({"sm_mhz": 1300.5}, 1300.5), ({"cpu_mhz": 0.0}, None), ({}, None), (None, None)])
def test_the_one_figure(clocks, mhz):
    assert clock_mhz(clocks) == mhz
