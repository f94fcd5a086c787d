"""The emulated board's files, fetched once into the cache by an ordinary user: emulator, Arm system, Arm Python packages."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lampq_tvm.device.apt import unpack_packages
from lampq_tvm.device.wheels import board_pins, install_wheels
from lampq_tvm.device.whole import damage, write_list
from lampq_tvm.errors import DeviceError, full_disk
from lampq_tvm.locks import locked
from lampq_tvm.progress import note
from lampq_tvm.resources import data_dir
from lampq_tvm.scratch import check_room, scratch, workspace
from lampq_tvm.store import cache_dir, digest

RECIPE = 4
SYSTEM = ("python3", "libstdc++6", "libgomp1", "libatomic1")
# What a board that only runs compiled code has no use for; the compiler alone takes 240 MB.
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "tvm/lib/libtvm_compiler.so")

Say = Callable[[str], None]


def say_on_stderr(line: str) -> None:
    """Default for `say`: one plain line on stderr."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Install:
    """A provisioned folder.

    Attributes:
        python: the board's Python version, `3.11`.
        cpus: the CPU models that the emulator knows.
        download_bytes: Debian packages fetched; wheels not counted.
    """

    folder: Path
    python: str
    cpus: tuple[str, ...]
    download_bytes: int

    @property
    def sysroot(self) -> Path:
        """The Arm system."""
        return self.folder / "sysroot"

    @property
    def site(self) -> Path:
        """The Arm Python packages."""
        return self.folder / "site"

    def cpu(self, wanted: str) -> str:
        """The CPU model to play, with its properties after commas; the one with every feature where the emulator lacks it."""
        return wanted if wanted.partition(",")[0] in self.cpus else "max"

    @property
    def emulator(self) -> list[str]:
        """Command of the emulator, with its own loader and libraries, so that nothing of the host's is mixed in."""
        return _emulator(self.folder / "host")


def provision(say: Say = say_on_stderr) -> Install:
    """The board's files, downloading them on first use.

    Safe against concurrent processes (a lock) and kills (built beside, renamed when whole).

    Raises:
        DeviceError: they cannot be had here; one line says why.
    """
    pins = (data_dir("requirements") / "board.txt").read_bytes()
    key = digest(RECIPE, platform.machine(), SYSTEM, pins)[:12]
    folder = cache_dir().absolute() / f"board-{key}"
    with once(folder) as building:
        if building is not None:
            say("emulated board: downloading an Arm system and its Python packages (about 180 MB, once)")
            _build(building)
            say(f"emulated board: ready in {folder}")
    try:
        found = json.loads((folder / "install.json").read_text("utf-8"))
        return Install(folder, found["python"], tuple(found["cpus"]), found["download_bytes"])
    except (OSError, ValueError, LookupError, TypeError) as e:  # prepared before folders had lists
        raise DeviceError("is damaged", where=str(folder), hint="remove this folder and run again") from e


def provision_fashion_mnist(say: Say = say_on_stderr) -> Path:
    """Folder with Fashion-MNIST's four `*-ubyte.gz` files, from Debian's package `dataset-fashion-mnist` (MIT, 31 MB).

    Raises:
        DeviceError: it cannot be downloaded.
    """
    folder = cache_dir().absolute() / "fashion-mnist"
    with once(folder) as building:
        if building is not None:
            say("Fashion-MNIST: downloading (31 MB, once)")
            with scratch("fashion-mnist") as temp:
                unpack_packages(["dataset-fashion-mnist"], host_arch(), Path(temp))
                shutil.copytree(Path(temp) / "usr/share/datasets/fashion-mnist", building, dirs_exist_ok=True)
    return folder


def host_arch() -> str:
    """Debian's name for this machine.

    Raises:
        DeviceError: the emulator is not there for it.
    """
    machine = platform.machine().lower()
    arch = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(machine)
    if arch is None or not sys.platform.startswith("linux"):
        raise DeviceError(f"no emulator for {sys.platform} on {machine}", where="emulated board", hint="use a real board")
    return arch


@contextmanager
def once(folder: Path) -> Iterator[Path | None]:
    """Yield None where `folder` is whole, else an empty folder that becomes it when the block ends without an error.

    Raises:
        DeviceError: a download could not be unpacked.
        OutputError: the cache's disk is full or read-only.
    """
    if folder.is_dir() and damage(folder) is None:
        yield None
        return
    try:
        with workspace(), locked(folder.with_name(f".{folder.name}.lock"), f"preparing {folder.name}") as alone:
            if folder.exists() and not _discarded(folder):
                yield None
                return
            for left in folder.parent.glob(f".{folder.name}.*.part") if alone else ():  # of a killed run: nobody else builds it
                shutil.rmtree(left, ignore_errors=True)
            building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
            try:
                yield building
                write_list(building)
                building.chmod(0o755)
                _become(building, folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    except (OSError, subprocess.CalledProcessError) as e:
        if isinstance(e, OSError) and (full := full_disk(e)):
            raise full from e
        check_room(folder.parent)  # what unpacks says it in its own words
        hint = "free some space, or name another folder in LAMPQ_CACHE"
        raise DeviceError(f"cannot be prepared ({e})", where=str(folder), hint=hint) from e


def _discarded(folder: Path) -> bool:
    """Whether a folder was damaged and is no longer there; its lock is held."""
    why = damage(folder) if folder.is_dir() else "it is no folder"
    if why is None:
        return False
    note(f"{folder}: {why}; it is made again")
    left = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    folder.rename(left)
    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
    return True


def _become(building: Path, folder: Path) -> None:
    """Rename a whole folder, unless another process was there first, which only happens without locks."""
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _build(folder: Path) -> None:
    size = unpack_packages(SYSTEM, "arm64", folder / "sysroot")
    size += unpack_packages(["qemu-user"], host_arch(), folder / "host")
    for name in ("lib", "bin", "sbin"):  # merged in newer releases, where the link belongs to a package not fetched here
        if not (folder / "sysroot" / name).exists():
            (folder / "sysroot" / name).symlink_to(f"usr/{name}")
    versions = [p.name[6:] for p in (folder / "sysroot/usr/bin").glob("python3.*") if p.name[8:].isdigit()]
    if len(versions) != 1:
        raise DeviceError("the downloaded Arm system has no Python", where="emulated board", hint="use Debian's own sources")
    pinned = folder / "requirements.txt"
    pinned.write_text("\n".join(board_pins(versions[0])) + "\n", "utf-8")
    install_wheels(["--no-deps", "--require-hashes", "-r", str(pinned)], versions[0], folder / "site")
    for name in UNUSED:
        for root in ("sysroot", "site"):
            path = folder / root / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    listed = subprocess.run([*_emulator(folder / "host"), "-cpu", "help"], capture_output=True, text=True, check=False)
    cpus = listed.stdout.partition(":")[2].split()
    if "max" not in cpus:
        reason = listed.stderr.strip().splitlines()[-1:] or ["no CPU models"]
        raise DeviceError(f"the downloaded emulator does not start ({reason[0]})", where="emulated board")
    found = {"python": versions[0], "cpus": cpus, "download_bytes": size}
    (folder / "install.json").write_text(json.dumps(found), "utf-8")


def _emulator(host: Path) -> list[str]:
    binary = str(host / "usr/bin/qemu-aarch64")
    loaders = [p for p in sorted(host.glob("**/ld-linux-*.so.[0-9]")) if p.is_file() and not p.is_symlink()]
    if not loaders:  # a statically linked build
        return [binary]
    folders = sorted({str(p.parent) for p in host.glob("**/lib*.so*") if p.is_file() or p.is_symlink()})
    return [str(loaders[0]), "--library-path", ":".join(folders), binary]
