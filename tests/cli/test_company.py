"""Commands and threads that share a cache: equal bytes, whoever works out what, and however a run came to its end."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

import lampq_tvm
from lampq_tvm.locks import locked
from tests.cli.conftest import FEW, MODEL, start

SIZES = {k: int(v) for k, v in (arg.split("=") for arg in MODEL if "=" in arg)}


def request(data, out, budget="4bit", *more):
    return ["compile", *MODEL, *FEW, "--data", data, "--budget", budget, "--no-update", "-o", out, *more]


def end(process):
    """What a command said; it must have ended well."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out + err


def test_the_same_command_several_times_at_once(data, tmp_path):
    """One works out each stage, the others wait for it; all write the same bytes."""
    outputs = [tmp_path / f"{i}.lampq" for i in range(4)]
    running = [start(*request(data, out), LAMPQ_CACHE=str(tmp_path / "cache")) for out in outputs]
    said = [end(process) for process in running]
    assert len({out.read_bytes() for out in outputs}) == 1
    assert any("waiting for another lampq, which is at the same work" in text for text in said)
    stages = tmp_path / "cache" / "stages"
    assert not [p for p in stages.rglob("*") if p.name.endswith(".tmp") or p.name == "units"]


def test_threads_of_one_process(lampq, data, tmp_path, monkeypatch):
    """Different requests side by side in one process give what each gives alone, random weights included."""
    common = {"mean": (0.5,), "std": (0.5,), "data": data, "calib_images": 8, "sens_images": 8, "update": False}
    requests = [{"seed": seed, "budgets": (budget,)} for seed in (0, 1) for budget in ("4bit", "8bit")]

    def make(i, where):
        path = tmp_path / f"{where}{i}.lampq"
        lampq_tvm.compile(MODEL[0], output=path, model_args=SIZES, **common, **requests[i])
        return path.read_bytes()

    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "alone"))
    alone = [make(i, "alone") for i in range(4)]
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "together"))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda i: make(i, "together"), range(4))) == alone
    assert len(set(alone)) == 4


def test_no_order_depends_on_chance(lampq, data, tmp_path):
    """A fresh process whose sets and dicts of names have another order writes the bytes of a kept artifact."""
    assert lampq(*request(data, tmp_path / "kept.lampq")).code == 0
    fresh = start(*request(data, tmp_path / "fresh.lampq"), LAMPQ_CACHE=str(tmp_path / "cache"), PYTHONHASHSEED="1")
    end(fresh)
    assert (tmp_path / "fresh.lampq").read_bytes() == (tmp_path / "kept.lampq").read_bytes()


def test_every_way_to_an_artifact_gives_the_same_bytes(lampq, data, tmp_path, monkeypatch):
    """Fresh, with any of its stages kept, by its plan, without a cache."""
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))
    assert lampq(*request(data, tmp_path / "0.lampq")).code == 0
    stages, expected = tmp_path / "cache" / "stages", (tmp_path / "0.lampq").read_bytes()
    lost = (["build"], ["build", "quantize"], ["quantize"], ["sensitivity", "build"], ["calibrate", "build"])
    for i, gone in enumerate(lost, 1):
        for stage in gone:
            for path in (stages / stage).rglob("*.*"):
                path.unlink()
        assert lampq(*request(data, tmp_path / f"{i}.lampq")).code == 0
        assert (tmp_path / f"{i}.lampq").read_bytes() == expected, gone
    plan = ["plan", *request(data, tmp_path / "plan.json")[1:]]
    assert lampq(*plan).code == 0
    again = [*request(data, tmp_path / "9.lampq")[:-5], "--plan", tmp_path / "plan.json", "-o", tmp_path / "9.lampq"]
    assert "--budget" not in again and lampq(*again, "--no-cache").code == 0
    assert (tmp_path / "9.lampq").read_bytes() == expected


@pytest.fixture
def interruptible():
    """A shell's background job ignores Ctrl-C, and so would the commands that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_waiting_command_ends_on_ctrl_c(lampq, data, tmp_path, monkeypatch, interruptible):
    """With 130 and the line that goes on; and the stage is there for whoever comes after a killed one."""
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))
    locks = tmp_path / "cache" / "locks"
    assert lampq(*request(data, tmp_path / "first.lampq")).code == 0
    (build,) = locks.glob("build-*.lock")
    for path in (tmp_path / "cache" / "stages" / "build").rglob("*.lampq"):
        path.unlink()
    with locked(build, "the test"):
        waiting = start(*request(data, tmp_path / "second.lampq"))
        said = ""
        while "waiting for another lampq" not in said:
            said = waiting.stderr.readline()
            assert said, waiting.communicate()
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 130 and "go on with: lampq compile" in err and not (tmp_path / "second.lampq").exists()
    assert lampq(*request(data, tmp_path / "second.lampq")).code == 0
    assert (tmp_path / "second.lampq").read_bytes() == (tmp_path / "first.lampq").read_bytes()
