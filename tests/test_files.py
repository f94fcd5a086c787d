"""Files in the place of files: each is refused at once, in one line."""

from __future__ import annotations

import json
import os
import socket

import pytest

from lampq_tvm.artifact.container import read_artifact
from lampq_tvm.bitplan import BitPlan, LayerPlan
from lampq_tvm.device.cost import read_core
from lampq_tvm.errors import CorruptError, LampqError, UnsupportedError
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.records.cpu import Records, read_record, record_path
from lampq_tvm.resources import data_dir
from lampq_tvm.targets.board import read_board
from lampq_tvm.tune.log import TrialLog, encode, open_log

READERS = {
    "plan": BitPlan.load,
    "latency table": LatencyTable.load,
    "artifact": read_artifact,
    "board": read_board,
    "core": read_core,
    "log": TrialLog,
}
PLAN = BitPlan(model="m", layers=(LayerPlan(name="a", type="qkv", w_bits=4, a_bits=4, params=8),)).model_dump()
TABLE = {"target": "host", "device": "local", "threads": 1, "layers": []}


def strange(kind, path):
    """Something else where a file should be."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as f:
            f.truncate(1 << 40)
    elif kind == "dangling":
        path.symlink_to(path.parent / "none")
    return path


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "huge", "dangling"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused_at_once(reader, kind, tmp_path):
    path = strange(kind, tmp_path / "x")
    with pytest.raises(LampqError) as error:
        READERS[reader](path)
    assert str(path) in str(error.value) and error.value.exit_code != 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "huge", "dangling"])
def test_a_record_that_is_no_file_is_left_out_with_a_warning(kind, tmp_path, capsys):
    path = record_path(tmp_path, "neon", "k")
    path.parent.mkdir()
    strange(kind, path)
    assert read_record(tmp_path, "neon", "k") is None
    assert "not used" in capsys.readouterr().err
    assert Records(tmp_path).digest("neon")


DEEP = b"[" * 100000
HOSTILE = {
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "deep": DEEP,
    "a deep field": json.dumps({**PLAN, "notes": "@"}).encode().replace(b'"@"', DEEP),
    "a list": b"[]",
    "a long number": json.dumps({**PLAN, "attention_bits": "@"}).encode().replace(b'"@"', b"9" * 10000),
    "NaN": json.dumps({**PLAN, "attention_bits": float("nan")}).encode(),
    "an unknown field": json.dumps({**PLAN, "x" * 100000 + "\n\x1b[2J": 1}).encode(),
    "a type": json.dumps({**PLAN, "layers": {"a": 1}}).encode(),
    "a lone surrogate": json.dumps({**PLAN, "model": "@"}).encode().replace(b"@", b"\\ud800"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("reader", ["plan", "latency table", "board", "core"])
def test_a_hostile_document_gets_one_short_line(reader, case, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(LampqError) as error:
        READERS[reader](path)
    line = str(error.value)
    assert line.isprintable() and len(line) < 600 + len(str(path))


@pytest.mark.parametrize(("reader", "document"), [("plan", PLAN), ("latency table", TABLE)])
def test_a_newer_version_is_called_newer(reader, document, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    READERS[reader](path)
    path.write_text(json.dumps({**document, "version": 2, "more": 1}))
    with pytest.raises(UnsupportedError, match="newer lampq"):
        READERS[reader](path)


def test_infinite_times_are_no_times(tmp_path):
    path = tmp_path / "x.json"
    timing = '{"median_ms": 1e999, "p95_ms": 1, "n": 1, "kind": "measured"}'
    path.write_text(json.dumps({**TABLE, "fixed": {"a": "@"}}).replace('"@"', timing))
    with pytest.raises(CorruptError):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("jetson-nano.toml", 'jp4 = "', 'jp4 = "x'),
        ("jetson-nano.toml", 'arch = "sm_', 'arch = "sm_1'),
        ("raspberry-pi-5.toml", 'mcpu = "', 'mcpu = "../'),
        ("raspberry-pi-5.toml", "cores = ", "cores = -"),
        ("raspberry-pi-5.toml", "value = ", "value = nan #"),
        ("raspberry-pi-5.toml", "value = ", "value = inf #"),
    ],
)
def test_a_board_with_hostile_values_is_refused(name, old, new, tmp_path):
    text = (data_dir("targets") / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    with pytest.raises(UnsupportedError, match="board file"):
        read_board(tmp_path / name)


def test_every_shipped_board_and_core_is_read():
    for path in data_dir("targets").glob("*.toml"):
        read_board(path)
    for path in data_dir("targets").glob("cores/*.toml"):
        read_core(path)


def test_a_core_with_no_units_of_a_kind_is_refused(tmp_path):
    path = next(data_dir("targets").glob("cores/*.toml"))
    text = path.read_text()
    at = text.index("issue = ")
    (tmp_path / "x.toml").write_text(text[:at] + "issue = 0 #" + text[at:])
    with pytest.raises(UnsupportedError, match="core file"):
        read_core(tmp_path / "x.toml")


SHORT = {"phase": "final", "tiles": ["a", "b"], "costs": [1], "gains": []}


@pytest.mark.parametrize("trial", [{"cost": "x"}, {"cost": -1}, SHORT, [1]])
def test_a_trial_of_the_right_sum_that_means_nothing_goes_aside(trial, tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    path.write_bytes(encode(trial))
    with open_log(path) as log:
        assert log.trials == []
    assert "damaged lines" in capsys.readouterr().err
