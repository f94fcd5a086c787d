"""The image files below a folder, and a count of everything else that lies there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lampq_tvm.data.formats import SUFFIXES
from lampq_tvm.errors import UsageError, printable

SYSTEM = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "recycler", "system volume information", "#recycle", "#snapshot",
          "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}  # fmt: skip
FOLDERS_SHOWN = 5


@dataclass(frozen=True)
class LeftOut:
    """What is not taken, counted by reason and folder."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, reason: str, folder: str, count: int = 1) -> None:
        """Count something in a folder."""
        self.counts.setdefault(reason, Counter())[folder] += count

    def lines(self) -> list[str]:
        """One line a reason, the folders with most first."""
        found = []
        for reason, folders in sorted(self.counts.items()):
            ranked = sorted(folders.items(), key=lambda item: (-item[1], item[0]))
            where = ", ".join(f"{printable(folder)}: {count}" for folder, count in ranked[:FOLDERS_SHOWN])
            more = f", {len(ranked) - FOLDERS_SHOWN} more folders" if len(ranked) > FOLDERS_SHOWN else ""
            found.append(f"left out: {sum(folders.values())} {reason} ({where}{more})")
        return found


def entries(folder: Path, name: str, left: LeftOut) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, by name; hidden and system files are left out.

    Args:
        folder: where.
        name: how the folder is called in what is left out.
        left: gains what is left out.

    Raises:
        UsageError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            ordered = sorted(found, key=lambda entry: entry.name)
    except OSError as e:
        raise UsageError(f"cannot read the folder ({e.strerror})", where=str(folder)) from e
    for entry in ordered:
        kind = "folders" if is_folder(entry) else "files"
        if entry.name.lower() in SYSTEM:
            left.add(f"system {kind}", name)
        elif entry.name.startswith("."):
            left.add(f"hidden {kind}", name)
        else:
            yield entry


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether this is a folder, or a link to one; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_image(entry: os.DirEntry[str], name: str, left: LeftOut) -> bool:
    """Whether a file is named like an image and can be one; a link to nothing is, and is refused as broken later."""
    suffix = Path(entry.name).suffix.lower()
    if suffix not in SUFFIXES:
        left.add(f"files of other types ({printable(suffix) if suffix else 'no suffix'})", name)
        return False
    try:
        plain = entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # links in a circle
        plain = True
    if not plain:
        left.add("pipes, sockets and devices", name)
    return plain


def images_below(folder: Path, name: str, left: LeftOut) -> list[Path]:
    """Image files at any depth, ordered by the names on their way; links to folders are followed, each folder once.

    Raises:
        UsageError: a folder cannot be read.
    """
    found: list[Path] = []
    seen = {_identity(folder)}
    open_folders = [entries(folder, name, left)]  # from the outermost to the innermost; a way may be longer than the call stack
    while open_folders:
        entry = next(open_folders[-1], None)
        if entry is None:
            open_folders.pop()
        elif not is_folder(entry):
            if is_image(entry, name, left):
                found.append(Path(entry.path))
        elif (identity := _identity(Path(entry.path))) in seen:
            left.add("links to a folder that was seen", name)
        else:
            seen.add(identity)
            open_folders.append(entries(Path(entry.path), name, left))
    return found


def _identity(folder: Path) -> tuple[int, int]:
    """Which folder this is, whatever it is called."""
    try:
        found = folder.stat()
    except OSError as e:
        raise UsageError(f"cannot read the folder ({e.strerror})", where=str(folder)) from e
    return found.st_dev, found.st_ino
