"""A key names the compilers and the linker that its target uses: another version is another result, and no other target's."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lampq_tvm.api.compiling import build
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.compiler import linking
from lampq_tvm.compiler.cuda.nvrtc import library_path
from lampq_tvm.compiler.toolchain import ENDS_BYTES, library_mark, toolchain, tvm_library
from lampq_tvm.levels import TOOLKITS
from lampq_tvm.sources import libraries, library_version
from lampq_tvm.targets import resolve_target

HOST, PI = "host", "raspberry-pi-5"
CUDA = {11: "jetson-agx-orin-64gb@jp5", 12: "jetson-agx-orin-64gb@jp6", 13: "h200@cuda13"}


def forget() -> None:
    """What is kept for the length of a process."""
    for kept in (libraries, library_version, library_mark, linking.linker_version):
        kept.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def fresh() -> object:
    forget()
    yield
    forget()


def chains() -> dict[str, tuple[str, ...]]:
    forget()
    return {name: toolchain(resolve_target(name)) for name in (HOST, PI, *CUDA.values())}


def changed(change: Callable[[], None]) -> set[str]:
    """Targets that use other tools after a change."""
    before = chains()
    change()
    after = chains()
    return {name for name in before if before[name] != after[name]}


def installed(folder: Path, name: str, version: str) -> None:
    """What pip leaves of a distribution, in front of the one that is there."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize("major", TOOLKITS)
def test_another_version_of_nvrtc(fresh, tmp_path, monkeypatch, major):
    monkeypatch.syspath_prepend(tmp_path)
    assert changed(lambda: installed(tmp_path, TOOLKITS[major].package, "99.1")) == {CUDA[major]}


def test_another_version_of_zig_or_tvm(fresh, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert changed(lambda: installed(tmp_path, "ziglang", "99.1")) - {HOST} == {PI}  # this machine may have no other linker
    assert changed(lambda: installed(tmp_path, "apache-tvm", "99.1")) == {HOST, PI, *CUDA.values()}


def test_another_library_of_the_same_version(fresh, tmp_path, monkeypatch):
    """As if NVRTC or TVM were built at home: one byte differs."""
    tvm = tvm_library()
    assert tvm is not None
    for major in TOOLKITS:  # all of them, where their package would be
        library = library_path(major)
        assert library is not None
        place = tmp_path.joinpath(*library.parts[library.parts.index("nvidia") :])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(library)
    (tmp_path / "nvidia/__init__.py").write_text("")
    (tmp_path / "tvm-built").mkdir()
    nvrtc = tmp_path / "nvidia/cuda_nvrtc/lib" / TOOLKITS[12].library
    for library, place in ((nvrtc.resolve(), nvrtc), (tvm, tmp_path / "tvm-built" / tvm.name)):
        place.unlink(missing_ok=True)
        with library.open("rb") as old, place.open("wb") as new:  # the ends alone, a hole between them
            new.write(old.read(ENDS_BYTES))
            old.seek(library.stat().st_size - ENDS_BYTES)
            end = bytearray(old.read())
            end[-100] ^= 1
            new.seek(library.stat().st_size - ENDS_BYTES)
            new.write(end)
    assert changed(lambda: monkeypatch.syspath_prepend(tmp_path)) == {CUDA[12]}
    assert changed(lambda: monkeypatch.setenv("TVM_LIBRARY_PATH", str(tmp_path / "tvm-built"))) == {HOST, PI, *CUDA.values()}


def test_another_system_linker(fresh, tmp_path, monkeypatch):
    tool = tmp_path / "g++"
    tool.write_text('#!/bin/sh\necho "g++ 99.1"\n')
    tool.chmod(0o755)
    if resolve_target(HOST).kind == "x86":
        assert changed(lambda: monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")) == {HOST}
    assert shutil.which("g++") == str(tool) or resolve_target(HOST).kind != "x86"


def test_a_new_version_of_nvrtc_makes_a_new_result(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    sizes = {"img_size": 16, "patch_size": 8, "in_chans": 1, "num_classes": 4, "embed_dim": 32, "depth": 1, "num_heads": 2}
    few = {"mean": (0.5,), "std": (0.5,), "model_args": sizes, "calib_images": 8, "target": CUDA[12]}

    def builds() -> int:
        forget()
        build(Pipeline(Options("vit_tiny_patch16_224", **few)))
        return len(list((tmp_path / "cache").glob("stages/build/*/checked.lampq")))

    assert builds() == 1 and builds() == 1
    installed(tmp_path / "site", TOOLKITS[13].package, "99.1")
    assert builds() == 1
    installed(tmp_path / "site", TOOLKITS[12].package, "99.1")
    assert builds() == 2
