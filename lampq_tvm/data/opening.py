"""From a path to a data set: what lies there decides who reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lampq_tvm.data.archive import open_npz
from lampq_tvm.data.dataset import Dataset
from lampq_tvm.data.folder import open_folder
from lampq_tvm.data.formats import FORMAT_HINT
from lampq_tvm.data.reading import Reading
from lampq_tvm.errors import UsageError
from lampq_tvm.network.model import InputSpec


def open_dataset(
    path: Path | str,
    spec: InputSpec,
    *,
    classes: int | None = None,
    labels_used: bool = True,
    how: Reading = Reading(),  # noqa: B008  (frozen)
) -> Dataset:
    """Open images for a model, and say how many there are and what was left out.

    Args:
        path: a folder of class folders or of images alone, or an `.npz` with `images` uint8 [N, H, W] or [N, H, W, C] and,
            where it has them, `labels` [N].
        spec: the image that the model takes.
        classes: number of the model's classes; labels beyond them, or another number of class folders, are refused. None
            leaves labels unchecked.
        labels_used: whether labels decide anything. Where they do not, class folders whose classes are open give none.
        how: order of class folders, class map, whether broken files are left out.

    Raises:
        UsageError: the path is missing or empty, a file is broken, a label is out of range, or the class folders are not the
            model's classes.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise UsageError("the data does not exist", where=str(path), hint=FORMAT_HINT)
    except (OSError, ValueError) as e:  # a name that is too long, a folder on the way that is closed
        reason = e.strerror if isinstance(e, OSError) else e
        raise UsageError(f"the data cannot be read ({reason})", where=str(path), hint="check the path") from e
    if path.is_dir():
        dataset = open_folder(path, spec, classes, labels_used, how)
    elif path.suffix.lower() == ".npz":
        if how.class_order is not None or how.class_map is not None:
            option = "--class-map" if how.class_map is not None else "--class-order"
            raise UsageError("an .npz holds its labels and has no class folders", where=option, hint="leave it out")
        dataset = open_npz(path, spec)
    else:
        raise UsageError("not a data set", where=str(path), hint=FORMAT_HINT)
    if classes is not None:
        check_labels(dataset, classes)
    return dataset


def check_labels(dataset: Dataset, classes: int) -> None:
    """Raise UsageError unless every label that there is is one of the model's classes, 0 .. classes - 1."""
    if dataset.labels is None:
        return
    bad = np.flatnonzero((dataset.labels < 0) | (dataset.labels >= classes))
    if len(bad):
        index = int(bad[0])
        where = str(dataset.files[index]) if dataset.files else f"{dataset.path}: image {index}"
        what = f"label {int(dataset.labels[index])} is out of range for a model with {classes} classes"
        raise UsageError(what, where=where, hint=f"labels must lie in 0..{classes - 1}")
