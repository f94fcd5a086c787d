"""Kinds of devices: found by scheme, judged in their own way, timed by one command at a time."""

import ast
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import lampq_tvm
from lampq_tvm.device.kinds import KINDS, LATER, find_device
from lampq_tvm.device.session import device_info
from lampq_tvm.device.times import COUNTED, MEASURED, added
from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.targets import resolve_target

PACKAGE = Path(lampq_tvm.__file__).parent
HOLDER = """
import sys
from lampq_tvm.device.kinds import find_device
with find_device(sys.argv[1]).alone():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_device_is_found_by_its_scheme():
    assert find_device().name == find_device("local").name == "local" and find_device().here
    assert find_device("emulated").times is COUNTED
    there = find_device("rpc://board:9190")
    assert (there.name, there.host, there.port, there.here) == ("rpc://board:9190", "board", 9190, False)
    assert [kind.form.partition("://")[0] for kind in KINDS.values()] == list(KINDS)
    assert all(kind.about() for kind in KINDS.values())


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("rcp://board:9190", "rpc://host:port"),
        ("lokal", "local"),
        ("rpc", "rpc://host:port"),
        ("local://", "local"),
    ],
)
def test_the_nearest_kind_is_offered(name, offered):
    with pytest.raises(UsageError, match="not a device") as found:
        find_device(name)
    assert str(found.value).endswith(f"; use {offered}")


def test_announced_kinds_are_refused_until_a_file_serves_them():
    for scheme in set(LATER) - set(KINDS):
        with pytest.raises(UnsupportedError, match="not there yet"):
            find_device(f"{scheme}://board")


def test_no_other_file_compares_names_of_devices():
    """Names of kinds stand as texts in their own files, in the list of what is announced and in two defaults."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare | ast.Call):
                called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
                if isinstance(node, ast.Call) and called not in ("startswith", "removeprefix", "partition"):
                    continue
                texts = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
                if any(text in ("emulated", "local") or text.startswith(("rpc:", "ssh:", "tracker:")) for text in texts):
                    found.append(path.relative_to(PACKAGE).as_posix())
    assert set(found) <= {"device/kinds/rpc.py", "ptx/machine.py", "ptx/operands.py"}  # PTX has a space called local


def test_samples_and_counts():
    timing = MEASURED.of([3.0, 1.0, 2.0])
    assert (timing.median_ms, timing.n, timing.kind) == (2.0, 3, "measured") and 2.8 < timing.p95_ms < 3
    count = COUNTED.of([5.0])
    assert (count.median_ms, count.p95_ms, count.n, count.kind) == (5.0, 5.0, 0, "estimated")
    both = added([(timing, 2), (count, 1)])
    assert (both.median_ms, both.n, both.kind) == (9.0, 0, "estimated")
    assert added([(timing, 2)]).kind == "measured" and added([(timing, 2)]).n == 3


def test_a_machine_has_one_identity():
    here = find_device().identity(resolve_target("host"))
    assert here == find_device("local").identity(resolve_target("host"))
    assert len(device_info()["identity"]) == 16
    with pytest.raises(UnsupportedError):
        find_device().identity(resolve_target("raspberry-pi-5"))
    pi4, pi5 = (find_device("emulated").identity(resolve_target(f"raspberry-pi-{n}")) for n in (4, 5))
    assert pi4 != pi5


def test_one_command_times_a_device_at_a_time(tmp_path, monkeypatch, capsys):
    """The second waits with one line; counts, and other devices, wait for nobody."""
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path))
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER, "rpc://board:1"], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        for free in ("local", "emulated", "rpc://board:2"):
            with find_device(free).alone():
                pass
        waiter = threading.Thread(target=lambda: find_device("rpc://board:1").alone().__enter__(), daemon=True)
        waiter.start()
        waiter.join(1.5)
        assert waiter.is_alive()
        holder.stdin.close()
        waiter.join(30)
        assert not waiter.is_alive()
    assert capsys.readouterr().err.splitlines() == ["waiting for another lampq, which measures on rpc://board:1"]
