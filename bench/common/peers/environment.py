"""Python environments of the peers, made once in the cache folder: one on this machine, and wheels for the board.

They stay apart from this project's environment, whose torch and numpy a converter would exchange for its own.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lampq_tvm.device.emulate import EmulatedBoard
from lampq_tvm.device.provision import once, say_on_stderr
from lampq_tvm.device.wheels import install_wheels
from lampq_tvm.errors import DeviceError
from lampq_tvm.store import cache_dir, digest

TIMEOUT_S = 3600


@dataclass(frozen=True)
class Environment:
    """Packages in a virtual environment of their own.

    Attributes:
        packages: installed with what they need.
        bare: installed alone, where what they need would be large and is not used.
    """

    packages: tuple[str, ...]
    bare: tuple[str, ...] = ()

    def folder(self) -> Path:
        """The environment, made on first use.

        Raises:
            DeviceError: it cannot be had here; one line says why.
        """
        key = digest(self.packages, self.bare, platform.python_version(), platform.machine())[:12]
        folder = cache_dir().absolute() / f"peers-{self.packages[0]}-{key}"
        with once(folder) as building:
            if building is not None:
                say_on_stderr(f"{', '.join(self.packages + self.bare)}: installing into the cache (once)")
                self._build(building)
        return folder

    def python(self) -> Path:
        """Its Python."""
        return self.folder() / "bin" / "python"

    def site(self) -> Path:
        """Its folder of packages."""
        return next((self.folder() / "lib").glob("python3*/site-packages"))

    def version(self, package: str) -> str:
        """Of an installed package."""
        return next(d.version for d in importlib.metadata.distributions(name=package, path=[str(self.site())]))

    def _build(self, folder: Path) -> None:
        uv, python = shutil.which("uv"), str(folder / "bin" / "python")
        make = [uv, "venv", "--quiet", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        install = [uv, "pip", "install", "--quiet", "--python", python] if uv else [python, "-m", "pip", "install", "--quiet"]
        execute([*make, str(folder)], self.packages[0])
        execute([*install, *self.packages], self.packages[0])
        if self.bare:
            execute([*install, "--no-deps", *self.bare], self.bare[0])


def execute(command: list[str], what: str, cwd: Path | None = None) -> None:
    """Run a program.

    Raises:
        DeviceError: it failed; its last line says why.
    """
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=env, cwd=cwd, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise DeviceError(f"{Path(command[0]).name} did not run ({e})", where=what) from e
    if done.returncode != 0:
        reason = ([line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"])[-1]
        raise DeviceError(f"{Path(command[0]).name} failed ({reason[:200]})", where=what)


def convert(environment: Environment, script: Path, *words: str | Path) -> None:
    """Run a script in an environment, without the script's own folder, where files are named like the packages they use.

    Raises:
        DeviceError: it failed.
    """
    execute([str(environment.python()), "-I", str(script), *map(str, words)], script.stem)


def board_site(board: EmulatedBoard, packages: list[str]) -> Path:
    """Folder of packages for the board's Python.

    Args:
        packages: with their versions, `ncnn==1.0`.

    Raises:
        DeviceError: they have no wheels for the board.
    """
    python = board.install.python
    folder = cache_dir().absolute() / f"peers-aarch64-py{python}-{packages[0].partition('=')[0]}-{digest(packages)[:12]}"
    with once(folder) as building:
        if building is not None:
            install_wheels(packages, python, building)
    return folder
