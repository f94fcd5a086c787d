"""Debian packages of any architecture, downloaded and unpacked by an ordinary user: nothing on the system changes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lampq_tvm.errors import DeviceError
from lampq_tvm.scratch import check_room, scratch

TIMEOUT_S = 900

# Read after the machine's own configuration, whose hooks (package caches, desktop indices) must not run here.
CONFIG = """
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
#clear APT::Architectures;
#clear DPkg::Post-Invoke-Success;
Dir::State "{root}/state";
Dir::State::lists "{root}/state/lists";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "60";
Acquire::https::Timeout "60";
Debug::NoLocking "true";
"""


def unpack_packages(names: Sequence[str], arch: str, folder: Path) -> int:
    """Unpack packages and everything they depend on into `folder`.

    The sources are this machine's own, or those of the file named by `$LAMPQ_APT_SOURCES`: Ubuntu keeps arm64 packages on
    another mirror than the one that its x86-64 machines are set up with.

    Args:
        arch: Debian's name, `amd64` or `arm64`.

    Returns:
        Bytes downloaded as packages.

    Raises:
        DeviceError: apt or dpkg is missing, there is no network, or the sources lack such packages.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DeviceError(f"{tool} is missing", where="emulated board", hint="use a Debian machine, or a real board")
    with scratch("apt") as temp:
        root = Path(temp)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (root / name).mkdir(parents=True)
        (root / "state/status").touch()
        sources = os.environ.get("LAMPQ_APT_SOURCES")
        config = CONFIG.format(root=root, arch=arch)
        if sources:
            config += f'Dir::Etc::sourcelist "{Path(sources).resolve()}";\nDir::Etc::sourceparts "-";\n'
        (root / "apt.conf").write_text(config, "utf-8")
        # One broken source among several does not matter: whether the packages can be had is judged by the second command.
        _apt(root, "update")
        done = _apt(root, "install", "--yes", "--download-only", "--no-install-recommends", *names)
        files = sorted((root / "cache/archives").glob("*.deb"))
        if done.returncode != 0 or not files:
            check_room(root)
            lines = [line[2:].strip() for line in done.stderr.splitlines() if line.startswith("E:")]
            reason = lines[0] if lines else "no packages came"
            hint = "check the network, or name a file of apt sources that hold them in LAMPQ_APT_SOURCES"
            raise DeviceError(f"apt cannot download {arch} packages ({reason})", where="emulated board", hint=hint)
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            subprocess.run(["dpkg-deb", "-x", str(file), str(folder)], check=True, stdin=subprocess.DEVNULL)
        return sum(file.stat().st_size for file in files)


def _apt(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-c", str(root / "apt.conf"), "-q", *args]
    try:
        return subprocess.run(
            command, env=env, text=True, errors="replace", stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as e:
        hint = "check the network and try again"
        raise DeviceError(f"apt-get did not finish in {TIMEOUT_S} s", where="emulated board", hint=hint) from e
