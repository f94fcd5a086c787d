"""Provisioning: whole or not at all, one line where it cannot be done; the linker's output; Fashion-MNIST."""

import gzip
import re
import shutil
import subprocess
import sys

import pytest
import tvm

from lampq_tvm.device import apt, cross, provision, wheels
from lampq_tvm.errors import DeviceError, OutputError, UsageError
from lampq_tvm.levels import CPU_ARCHES
from lampq_tvm.targets import resolve_target
from tests.device.conftest import provisioned
from tests.device.trivial import trivial_module


def one_line(error, code=5):
    return "\n" not in str(error.value) and error.value.exit_code == code


def test_no_apt_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path))
    monkeypatch.setattr(apt.shutil, "which", lambda name: None)
    with pytest.raises(DeviceError, match="apt-get is missing") as error:
        provision.provision(lambda line: None)
    assert one_line(error)
    assert [p.name for p in tmp_path.iterdir() if p.name != "scratch" and not p.name.endswith(".lock")] == []


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get on this machine")
def test_sources_without_the_packages_are_one_line(monkeypatch, tmp_path):
    (tmp_path / "sources.list").write_text("")
    monkeypatch.setenv("LAMPQ_APT_SOURCES", str(tmp_path / "sources.list"))
    with pytest.raises(DeviceError, match="apt cannot download arm64 packages") as error:
        apt.unpack_packages(["python3"], "arm64", tmp_path / "out")
    assert one_line(error)
    assert not (tmp_path / "out").exists()


def test_no_installer_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(wheels.shutil, "which", lambda name: None)
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="neither pip nor uv") as error:
        wheels.install_wheels(["numpy"], "3.11", tmp_path)
    assert one_line(error)


def test_the_board_gets_the_base_requirements_and_no_more():
    names = {re.split(r"[^\w-]", r)[0] for r in wheels.board_pins("3.11")}
    assert {"apache-tvm", "numpy", "pydantic", "typer"} <= names
    assert not {"torch", "timm", "ziglang"} & names


def test_the_boards_wheels_are_pinned_for_its_own_python():
    for python in ("3.10", "3.11", "3.13"):
        pins = wheels.board_pins(python)
        assert all(re.match(r"[\w-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", pin) for pin in pins)
        names = [pin.partition("==")[0] for pin in pins]
        assert len(names) == len(set(names))
        assert ("tomli" in names) == (python == "3.10")
    with pytest.raises(DeviceError, match=r"no packages are pinned for Python 3\.99"):
        wheels.board_pins("3.99")


def test_a_wheel_of_another_hash_is_refused(tmp_path):
    (tmp_path / "pins.txt").write_text(f"cloudpickle==3.1.2 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(DeviceError, match="aarch64 wheels cannot be installed") as error:
        wheels.install_wheels(["--no-deps", "--require-hashes", "-r", str(tmp_path / "pins.txt")], "3.11", tmp_path / "site")
    assert one_line(error)
    assert not list((tmp_path / "site").glob("cloudpickle*"))


def test_once_builds_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "thing"
    with pytest.raises(ZeroDivisionError), provision.once(folder) as building:
        (building / "half").write_text("")
        raise ZeroDivisionError
    assert not folder.exists()
    (tmp_path / ".thing.killed.part").mkdir()  # what a kill leaves behind
    with provision.once(folder) as building:
        (building / "file").write_text("whole")
    assert (folder / "file").read_text() == "whole"
    with provision.once(folder) as building:
        assert building is None
    assert sorted(p.name for p in tmp_path.iterdir()) == [".thing.lock", "thing"]


def test_concurrent_processes_build_once(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from lampq_tvm.device.provision import once\n"
        "with once(pathlib.Path(sys.argv[1])) as building:\n"
        "    if building is not None:\n"
        "        time.sleep(0.5); (building / 'x').write_text('x'); print('built')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "thing")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(p.communicate()[0] for p in running) == ["", "", "built\n"]


def test_an_unwritable_cache_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot write") as error, provision.once(tmp_path / "file" / "board"):
        pass
    assert one_line(error, 8)


def test_provisioning_again_downloads_nothing(pi5):
    lines = []
    found = provision.provision(lines.append)
    assert lines == []
    assert found == pi5.install
    assert not list(found.site.glob("**/libtvm_compiler.so"))


@pytest.mark.parametrize("kind", ["x86", "aarch64"])
def test_the_linker_gives_the_same_file_twice_for_the_oldest_glibc(kind, tmp_path):
    target = {"kind": "llvm", "mtriple": CPU_ARCHES[kind].triple}
    built = tvm.compile(trivial_module(), target=tvm.target.Target(target))
    for name in ("a.so", "b.so"):
        built.export_library(str(tmp_path / name), cc=cross.cross_compiler(kind))
    data = (tmp_path / "a.so").read_bytes()
    assert data == (tmp_path / "b.so").read_bytes()
    assert int.from_bytes(data[18:20], "little") == {"x86": 62, "aarch64": 183}[kind]  # e_machine
    wanted = [tuple(map(int, v.split(b"."))) for v in re.findall(rb"GLIBC_(\d[\d.]*)", data)]
    assert all(v <= (2, 28) for v in wanted)


def test_a_missing_linker_is_one_line(monkeypatch):
    monkeypatch.setattr(cross.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="lampq-tvm\\[compile\\]"):
        cross.cross_compiler(resolve_target("raspberry-pi-5").kind)


def test_fashion_mnist_is_complete():
    provisioned("raspberry-pi-5")  # where no package can be had, this skips
    folder = provision.provision_fashion_mnist()
    for name, n in (("train", 60_000), ("t10k", 10_000)):
        with gzip.open(folder / f"{name}-images-idx3-ubyte.gz") as file:
            head = file.read(16)
        assert [int.from_bytes(head[i : i + 4], "big") for i in (4, 8, 12)] == [n, 28, 28]
