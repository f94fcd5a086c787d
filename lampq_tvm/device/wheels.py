"""Python packages for the board's architecture: lampq-tvm's base dependencies, as pinned wheels, in one folder."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from lampq_tvm.device.pins import read_pins
from lampq_tvm.errors import DeviceError
from lampq_tvm.resources import data_dir

TIMEOUT_S = 1800
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def board_pins(python: str) -> list[str]:
    """What `pip install lampq-tvm` brings to a board, each at one version with its hashes: lines of a requirement file.

    Args:
        python: the board's Python, `3.11`.

    Raises:
        DeviceError: nothing is pinned for that Python.
    """
    pins = read_pins(data_dir("requirements") / "board.txt")
    lines = [pin.line for pin in pins if pin.holds(python, "aarch64")]  # pip would ask this machine's Python
    if not lines:
        raise DeviceError(f"no packages are pinned for Python {python}", where="emulated board", hint="run make pins")
    return lines


def install_wheels(requirements: list[str], python: str, folder: Path) -> None:
    """Install aarch64 wheels into `folder` with pip or uv, whichever is there.

    Args:
        requirements: what to install, as the installers' arguments; dependencies come along unless these say otherwise.
        python: the board's Python, `3.11`.

    Raises:
        DeviceError: neither installer is there, or it failed.
    """
    wheels_only = ["--only-binary", ":all:", "--python-version", python, "--target", str(folder), "--quiet", *requirements]
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install", *platforms, *wheels_only]
    elif uv := shutil.which("uv"):
        command = [
            uv,
            "pip",
            "install",
            "--python",
            sys.executable,
            "--python-platform",
            "aarch64-manylinux_2_28",
            *wheels_only,
        ]
    elif pip := shutil.which("pip") or shutil.which("pip3"):
        command = [pip, "install", *platforms, *wheels_only]
    else:
        raise DeviceError("neither pip nor uv is there", where="emulated board", hint="install pip into this environment")
    try:
        done = subprocess.run(
            command, text=True, errors="replace", stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as e:
        hint = "check the network and try again"
        raise DeviceError(f"{Path(command[0]).name} did not finish in {TIMEOUT_S} s", where="emulated board", hint=hint) from e
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if "rror" in line), lines[-1] if lines else "no reason given")
        raise DeviceError(f"aarch64 wheels cannot be installed ({reason})", where="emulated board", hint="check the network")
