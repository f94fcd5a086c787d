"""Image files in a folder of class folders, or in a flat folder without labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lampq_tvm.data.classes import number_classes
from lampq_tvm.data.dataset import Dataset
from lampq_tvm.data.formats import FORMAT_HINT
from lampq_tvm.data.image import pillow
from lampq_tvm.data.reading import Reading
from lampq_tvm.data.walk import LeftOut, entries, images_below, is_folder, is_image
from lampq_tvm.errors import UsageError, printable
from lampq_tvm.network.model import InputSpec
from lampq_tvm.progress import note

# What parts of a data set are called; two names of one part are no sign of a split.
SPLITS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "eval": 1, "test": 2, "testing": 2}


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        root: the folder.
        flat: images that lie in it.
        folders: images at any depth below each of its folders.
        left: what is not taken.
    """

    root: Path
    flat: list[Path] = field(default_factory=list)
    folders: dict[str, list[Path]] = field(default_factory=dict)
    left: LeftOut = field(default_factory=LeftOut)

    @property
    def filled(self) -> list[str]:
        """The folders that hold images."""
        return [name for name, files in self.folders.items() if files]


def open_folder(path: Path, spec: InputSpec, classes: int | None, labels_used: bool, how: Reading) -> Dataset:
    """A folder of class folders, or a flat one whose images have no labels.

    Args:
        path: the folder.
        spec: the image that the model takes.
        classes: number of the model's classes, where it is known.
        labels_used: whether labels must be right; where they are not used, folders that are no classes give none.
        how: order and map of the classes.

    Raises:
        UsageError: there are no images, or the folders are not the model's classes.
    """
    if spec.channels not in (1, 3, 4):
        what = f"image files have 1, 3 or 4 channels, the model takes {spec.channels}"
        raise UsageError(what, where=str(path), hint="give an .npz with images [N,H,W,C]")
    pillow()
    found = _look(path)
    if not found.filled:
        return _flat(found, spec, how)
    _check_split(found, how)
    try:
        _check_depth(found, classes, how)
        numbers = number_classes(path, list(found.folders), found.filled, classes, how)
    except UsageError as e:
        if labels_used or how.class_map is not None:
            raise
        numbers, reason = {}, e.what
    if found.flat:
        found.left.add("images beside the class folders", ".", len(found.flat))
    files = [file for name in found.filled for file in found.folders[name]]
    labels = [numbers[name] for name in found.filled for _ in found.folders[name]] if numbers else None
    _say(found, len(files), f"{len(found.filled)} class folders" if numbers else f"no labels taken ({reason}), none are used")
    known = None if labels is None else np.array(labels, np.int64)
    return Dataset(path, spec, known, files=tuple(files), skip_broken=how.skip_broken)


def _look(path: Path) -> Found:
    """Go through a folder."""
    found = Found(path)
    for entry in entries(path, ".", found.left):
        if is_folder(entry):
            found.folders[entry.name] = images_below(Path(entry.path), entry.name, found.left)
        elif is_image(entry, ".", found.left):
            found.flat.append(Path(entry.path))
    return found


def _flat(found: Found, spec: InputSpec, how: Reading) -> Dataset:
    """The images that lie in the folder itself."""
    if not found.flat:
        what = "; ".join(["no images", *found.left.lines()])
        raise UsageError(what, where=str(found.root), hint=FORMAT_HINT)
    if how.class_order is not None or how.class_map is not None:
        option = "--class-map" if how.class_map is not None else "--class-order"
        raise UsageError("there are no class folders", where=f"{option}, {found.root}", hint="leave it out")
    _say(found, len(found.flat), "no class folders, so no labels")
    return Dataset(found.root, spec, files=tuple(found.flat), skip_broken=how.skip_broken)


def _check_split(found: Found, how: Reading) -> None:
    """Refuse a folder that holds parts of a data set instead of classes."""
    if how.class_map is not None:
        return
    parts = [name for name in found.filled if name.lower() in SPLITS]
    deep = [name for name in parts if all(file.parent != found.root / name for file in found.folders[name])]
    several = len({SPLITS[name.lower()] for name in parts}) > 1
    if (several and (len(parts) == len(found.filled) or len(deep) == len(parts))) or (deep and deep == found.filled):
        names = " and ".join(f"{printable(name)}/" for name in parts)
        hint = f"give one of them: --data {found.root / parts[0]}"
        raise UsageError(f"{names} are parts of a data set, not classes", where=str(found.root), hint=hint)


def _check_depth(found: Found, classes: int | None, how: Reading) -> None:
    """Refuse class folders that hold class folders: no image in them, but in several folders below."""
    if how.class_map is not None or (classes is not None and len(found.folders) == classes):
        return
    for name in found.filled:
        places = sorted({file.parent for file in found.folders[name]})
        if found.root / name not in places and len(places) > 1:
            first = ", ".join(printable(str(place.relative_to(found.root))) for place in places[:2])
            what = f"the images of {printable(name)}/ lie only in folders below it ({first}, ...), which may be the classes"
            hint = f"give the folder that holds the class folders, such as {places[0].parent}, or --class-map FILE"
            raise UsageError(what, where=str(found.root), hint=hint)


def _say(found: Found, count: int, labels: str) -> None:
    """Print what was taken and what was not."""
    note(f"{printable(str(found.root))}: {count} images, {labels}")
    for line in found.left.lines():
        note(line)
