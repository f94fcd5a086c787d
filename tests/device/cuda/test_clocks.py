"""Clocks from a Jetson's kernel and from nvidia-smi."""

from __future__ import annotations

import pytest

from lampq_tvm.device.cuda.clocks import read_clocks


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def smi(folder, answer, code=0):
    write(folder / "nvidia-smi", f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
    (folder / "nvidia-smi").chmod(0o755)


@pytest.mark.parametrize("name", ["17000000.gpu", "17000000.gv11b", "gpu-gpc-0"])
def test_a_jetson(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", "/nowhere")
    write(tmp_path / "sys/class/devfreq/100.other/cur_freq", "5\n")
    write(tmp_path / f"sys/class/devfreq/{name}/cur_freq", "1300500000\n")
    write(tmp_path / f"sys/class/devfreq/{name}/max_freq", "1300500000\n")
    found = {"sm_mhz": 1300.5, "max_sm_mhz": 1300.5, "memory_mhz": None, "source": "/sys/class/devfreq"}
    assert read_clocks(tmp_path) == found
    write(tmp_path / "sys/kernel/debug/bpmp/debug/clk/emc/rate", "3199000000")
    assert read_clocks(tmp_path) == found | {"memory_mhz": 3199.0}


def test_a_card(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    smi(tmp_path, "1755, 1980, 3201")
    found = {"sm_mhz": 1755.0, "max_sm_mhz": 1980.0, "memory_mhz": 3201.0, "source": "nvidia-smi"}
    assert read_clocks(tmp_path) == found


@pytest.mark.parametrize(("answer", "code"), [("[N/A], [N/A], [N/A]", 0), ("no devices were found", 0), ("1, 2, 3", 9)])
def test_nothing_to_read(tmp_path, monkeypatch, answer, code):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    smi(tmp_path, answer, code)
    assert read_clocks(tmp_path) is None
