import json
import resource
import subprocess
import sys

import pytest

from lampq_tvm import __version__
from lampq_tvm.api.options import Options, parse_model_args
from lampq_tvm.errors import UsageError
from tests.cli.conftest import start

ARTIFACT_VERBS = [["run", "--input", "x.npy", "--output", "y.npy"], ["eval", "--data", "d"], ["bench"], ["inspect"]]
HEAVY = ("torch", "tvm", "timm", "numpy", "PIL", "mip")


def test_version_and_help(lampq):
    assert lampq("--version").out == f"lampq {__version__}\n"
    for argv in ([], ["--help"]):
        found = lampq(*argv)
        assert found.code == 0 and all(verb in found.out for verb in ("compile", "inspect", "device"))


def help_seconds(verb):
    """CPU time of `--help` in a process of its own: other tests run beside this one."""
    argv = [verb, "--help"] if verb else ["--help"]
    code = f"import sys; from lampq_tvm.__main__ import run_command; run_command({argv})\n"
    code += f"sys.exit(sum(m in sys.modules for m in {HEAVY}))"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "Usage: lampq" in done.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("verb", ["", "compile", "run", "device"])
def test_help_loads_nothing_heavy(verb):
    help_seconds(verb)


def test_help_is_fast():
    assert min(help_seconds("compile") for _ in range(4)) < 0.5


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["nope"], 2, "No such command 'nope'"),
        (["compile"], 2, "Missing"),
        (["compile", "m"], 2, "Missing option"),
        (["compile", "m", "-o", "x", "--nope"], 2, "No such option"),
        (["compile", "m", "-o", "x", "--batch", "two"], 2, "--batch"),
        (["compile", "m", "-o", "x", "--batch", "0"], 2, "--batch: 0 is out of range"),
        (["compile", "m", "-o", "x", "--budget", "3foo"], 2, "'3foo' is not a budget"),
        (["compile", "m", "-o", "x", "--budget", "0bit"], 2, "not a positive number"),
        (["compile", "m", "-o", "x", "--model-arg", "depth"], 2, "'depth' is not k=v"),
        (["compile", "m", "-o", "x", "--mean", "a,b"], 2, "--mean"),
        (["compile", "m", "-o", "x", "--std", "0"], 2, "--std"),
        (["compile", "m", "-o", "x", "--attention-bits", "9"], 2, "--attention-bits"),
        (["compile", "m", "-o", "x", "--metric", "magic"], 2, "'magic' is not a choice"),
        (["compile", "m", "-o", "x", "--separate", "--metric", "lampq"], 2, "does not see activations"),
        (["compile", "m", "-o", "x", "--alpha", "loss"], 2, "has no alpha"),
        (["compile", "m", "-o", "x", "--tie", "--a-bits", "4"], 2, "exclude each other"),
        (["compile", "m", "-o", "x", "--checkpoint", "c", "--pretrained"], 2, "exclude each other"),
        (["compile", "m", "-o", "x", "--max-drop", "-1"], 2, "--max-drop"),
        (["compile", "m", "-o", "x", "--device", "usb"], 2, "not a device"),
        (["compile", "m", "-o", "x", "--device", "rpc://nohost"], 2, "not a device"),
        (["compile", "m", "-o", "x", "--device", "ssh://pi@board"], 3, "not there yet"),
        (["compile", "m", "-o", "x", "--device", "tracker://host:9190/key"], 3, "not there yet"),
        (["bench", "x", "--device", "ssh://pi@board"], 3, "not there yet"),
        (["compile", "m", "-o", "x", "--model-arg", f"depth={'[' * 5000}"], 3, "timm has no model"),
        (["run", "x", "--input", "i", "--output", "o", "--repeat", "0"], 2, "--repeat"),
        (["run", "x", "--input", "i", "--output", "o", "--threads", "-1"], 2, "--threads: -1 is out of range"),
        (["bench", "x", "--threads", "0"], 2, "--threads: 0 is out of range"),
        (["eval", "x", "--data", "d", "--images", "-5"], 2, "--images: -5 is out of range"),
        (["eval", "x", "--data", "d", "--images", "0"], 2, "--images: 0 is out of range"),
        (["eval", "x", "--data", "d", "--jobs", "-1"], 2, "--jobs: -1 is out of range"),
        (["report", "x.lampq"], 3, "not there yet"),
    ],
)
def test_bad_command_lines_get_one_line(lampq, argv, code, words):
    found = lampq(*argv)
    assert found.code == code and words in found.line and found.out == ""


def test_arguments_come_before_everything_else(lampq, tmp_path):
    found = lampq("compile", "no_such_model", "-o", "/proc/x", "--target", "no-such-board", "--budget", "x")
    assert found.code == 2 and "--budget" in found.line


@pytest.mark.parametrize("argv", ARTIFACT_VERBS, ids=lambda a: a[0])
def test_artifact_verbs_name_a_missing_file(lampq, argv):
    found = lampq(argv[0], "none.lampq", *argv[1:])
    assert found.code == 2 and "none.lampq" in found.line


@pytest.mark.parametrize("argv", ARTIFACT_VERBS, ids=lambda a: a[0])
def test_a_damaged_artifact_comes_before_every_other_file(lampq, tmp_path, argv):
    bad = tmp_path / "bad.lampq"
    bad.write_bytes(b"LAMPQ 1\n" + b"0" * 64 + b"\n" + bytes(64))
    found = lampq(argv[0], bad, *argv[1:])
    assert found.code == 7 and str(bad) in found.line


def test_a_bug_of_ours_is_one_line_and_a_saved_traceback(lampq, monkeypatch, cache):
    monkeypatch.setattr("lampq_tvm.api.looking.targets", lambda: 1 / 0)
    found = lampq("targets")
    assert found.code == 1 and "ZeroDivisionError" in found.line
    saved = next((cache / "tracebacks").glob("*.txt"))
    assert str(saved) in found.line and "1 / 0" in saved.read_text()
    monkeypatch.setenv("LAMPQ_DEBUG", "1")
    assert "1 / 0" in lampq("targets").err


@pytest.mark.parametrize("name", ["torch", "scipy", "packaging"])
def test_a_package_that_a_board_lacks_is_named(lampq, monkeypatch, name):
    def absent():
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("lampq_tvm.api.looking.targets", absent)
    found = lampq("targets")
    assert found.code == 2 and f"needs {name}, which is not installed" in found.line and "lampq-tvm[compile]" in found.line


def test_interrupt_says_how_to_go_on(lampq, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("lampq_tvm.api.looking.targets", interrupted)
    found = lampq("targets", "--json")
    assert found.code == 130 and found.line.endswith("go on with: lampq targets --json")


def test_targets(lampq):
    rows = json.loads(lampq("targets", "--json").out.splitlines()[-1])["targets"]
    assert {"host", "raspberry-pi-5", "jetson-agx-orin-64gb"} <= {row["name"] for row in rows}
    assert lampq("targets").code == 0


def test_doctor_and_devices(lampq):
    checks = json.loads(lampq("doctor", "--json").out.splitlines()[-1])["checks"]
    assert all(check["ok"] for check in checks if check["name"] in ("TVM and its FFI", "cache", "numpy"))
    assert "emulated" in lampq("device", "list").out
    assert lampq("device", "doctor", "rpc://127.0.0.1:1").code == 5
    assert lampq("device", "serve", "--host", "0.0.0.0").code == 2


def test_a_closed_pipe_is_no_error():
    process = start("targets", "--json")
    process.stdout.close()
    assert process.wait(60) == 0 and process.stderr.read() == ""


def test_model_args_are_json_where_they_can_be():
    assert parse_model_args(["depths=[2,2]", "act=gelu", "x=true"]) == {"depths": [2, 2], "act": "gelu", "x": True}
    with pytest.raises(UsageError):
        parse_model_args(["a-b=1"])


def test_options_are_checked_in_python_too():
    with pytest.raises(UsageError, match="--calib-images"):
        Options("m", calib_images=0)
    with pytest.raises(TypeError):
        Options("m", nonsense=1)
    assert Options("m", budgets=("8bit", "1GiB")).is_uniform8 is False
    assert Options("m").is_uniform8 is True


def test_what_a_board_runs_needs_neither_torch_nor_a_solver():
    code = "import sys, lampq_tvm.api.running, lampq_tvm.api.looking, lampq_tvm.runtime.runner\n"
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'PIL', 'mip', 'xgboost', 'onnx')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_base_install_says_what_to_install(lampq, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [m for m in sys.modules if m.startswith("lampq_tvm.frontend.") and not m.endswith("model")]:
        monkeypatch.delitem(sys.modules, name)
    found = lampq("doctor", "vit_tiny_patch16_224")
    assert found.code == 2 and "lampq-tvm[compile]" in found.line
