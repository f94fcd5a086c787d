"""Damaged files of prepared folders and of the linker are seen and made again."""

from __future__ import annotations

import subprocess

import pytest

from lampq_tvm.device import cross, provision, whole


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def prepared(folder):
    """Whether it had to be prepared."""
    with provision.once(folder) as building:
        if building is not None:
            (building / "install.json").write_text('{"python": "3.11"}')
            (building / "sysroot").mkdir()
            (building / "sysroot" / "large").write_bytes(bytes(1000))
            (building / "sysroot" / "link").symlink_to("large")
        return building is not None


def empty(path):
    path.write_bytes(b"")


def other(path):
    path.write_text('{"python": "3.12"}')


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("install.json", empty),
        ("install.json", other),
        ("sysroot/large", empty),
        ("sysroot/large", lambda path: path.unlink()),
        (whole.LIST, empty),
        (whole.LIST, lambda path: path.write_text("[]")),
        (whole.LIST, lambda path: path.write_bytes(b"\xff")),
    ],
)
def test_a_damaged_folder_is_prepared_again(cache, capsys, name, harm):
    folder = cache / "board"
    assert prepared(folder) and not prepared(folder)
    harm(folder / name)
    whole._check.cache_clear()  # as in a new process
    assert prepared(folder) and not prepared(folder)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "it is made again" in lines[0]
    assert (folder / "sysroot" / "link").read_bytes() == bytes(1000)
    assert sorted(p.name for p in cache.iterdir() if p.name.startswith(".board")) == [".board.lock"]


def test_a_file_where_a_folder_should_be(cache, capsys):
    cache.mkdir()
    empty(cache / "board")
    assert prepared(cache / "board")
    assert "it is no folder; it is made again" in capsys.readouterr().err


def test_what_is_added_later_does_no_harm(cache):
    folder = cache / "board"
    prepared(folder)
    (folder / "plugin").mkdir()
    whole._check.cache_clear()
    assert not prepared(folder)


@pytest.mark.parametrize("content", [b"", b"exit 1"])
def test_a_damaged_linker_is_made_again(capsys, content):
    path = cross.cross_compiler("aarch64")
    with open(path, "wb") as file:
        file.write(content)
    assert cross.cross_compiler("aarch64") == path
    assert "it is made again" in capsys.readouterr().err
    assert "clang" in subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
