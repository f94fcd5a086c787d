"""Where the package's data folders lie: in an installed wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from lampq_tvm.errors import UsageError

PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """The folder `targets`, `schedules` or `requirements`.

    Raises:
        UsageError: neither the wheel nor the checkout has it: the installation is broken.
    """
    # The wheel's own copy first: a folder of the same name beside an installed package belongs to someone else.
    for folder in (PACKAGE / "_data" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise UsageError(f"the data folder {name!r} is missing", where=str(PACKAGE), hint="reinstall lampq-tvm")
