"""Everything that is installed is pinned by hash, the pins are what the project asks for, and the wheel says what it needs."""

import json
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lampq_tvm.device.pins import read_pins
from lampq_tvm.resources import PACKAGE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = PACKAGE.parent
FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
ASKED = {
    "board.txt": PROJECT["project"]["dependencies"],
    "workstation.txt": [
        *PROJECT["project"]["dependencies"],
        *EXTRAS["compile"],
        *EXTRAS["hf"],
        *EXTRAS["test"],
        *PROJECT["dependency-groups"]["build"],
    ],
    "maintain.txt": PROJECT["dependency-groups"]["maintain"],
    "docs.txt": PROJECT["dependency-groups"]["docs"],
}


@pytest.mark.parametrize("file", ASKED)
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_pins_are_what_the_project_asks_for(file, python):
    pins = [pin for pin in read_pins(FOLDER / file) if pin.holds(python, "x86_64")]
    versions = {pin.name: Version(pin.version) for pin in pins}
    assert len(versions) == len(pins)  # one version each
    for text in ASKED[file]:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": python, "sys_platform": "linux"}):
            assert wanted.specifier.contains(versions[wanted.name.lower()], prereleases=True), text


@pytest.mark.parametrize("file", ASKED)
def test_every_pin_has_hashes_and_no_address(file):
    assert all(len(h) == 64 for pin in read_pins(FOLDER / file) for h in pin.hashes)
    lines = (FOLDER / file).read_text("utf-8").splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_a_line_that_is_no_pin_is_refused(tmp_path):
    for line in ("numpy>=2 --hash=sha256:" + "0" * 64, "numpy==2.0", "numpy @ file:///numpy.whl --hash=sha256:" + "0" * 64):
        (tmp_path / "pins.txt").write_text(line)
        with pytest.raises(ValueError, match="no version with a hash"):
            read_pins(tmp_path / "pins.txt")


def test_the_wheel_carries_the_bill_of_materials_the_boards_pins_and_the_recipes(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        assert held.read("lampq_tvm/_data/requirements/board.txt") == (FOLDER / "board.txt").read_bytes()
        for recipe in (PACKAGE / "recipes").glob("*.toml"):
            assert held.read(f"lampq_tvm/recipes/{recipe.name}") == recipe.read_bytes()
        (name,) = [n for n in held.namelist() if ".dist-info/sboms/" in n]
        bill = json.loads(held.read(name))
    listed = {(c["name"], c["version"], c["scope"]) for c in bill["components"]}
    board = {(pin.name, pin.version, "required") for pin in read_pins(FOLDER / "board.txt")}
    more = {(pin.name, pin.version) for pin in read_pins(FOLDER / "workstation.txt")}
    assert listed == board | {(*pin, "optional") for pin in more if (*pin, "required") not in board}
    assert bill["metadata"]["component"]["name"] == "lampq-tvm"
