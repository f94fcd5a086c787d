"""A copy of the package whose files a test may change, and what another process says of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lampq_tvm.resources import PACKAGE

CODE_KEYS = """
from lampq_tvm.stage_cache import STAGES, code_key
from lampq_tvm.store import digest
print(json.dumps({
    **{name: digest(*code_key(name)) for name in STAGES},
    **{f"{name} gpu": digest(*code_key(name, gpu=True)) for name, work in STAGES.items() if work.gpu},
}))
"""


class Copy:
    """The package and its data below a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.package = root, root / PACKAGE.name
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("schedules", "targets"):
            (root / name).symlink_to(PACKAGE.parent / name)

    def run(self, code: str, *argv: str) -> Any:
        """The JSON that the last line of a script's output is; it imports the copy."""
        env = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        how: dict[str, Any] = {"capture_output": True, "text": True, "env": env, "cwd": self.root}
        head = f"import json, sys, lampq_tvm; assert lampq_tvm.__file__.startswith({str(self.root)!r})\n"
        done = subprocess.run([sys.executable, "-c", head + code, *argv], **how)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def write(self, name: str, text: str) -> None:
        """Make a file of the package."""
        path = self.package / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def remove(self, name: str) -> None:
        """Remove a folder of the package."""
        shutil.rmtree(self.package / name)

    @contextlib.contextmanager
    def edited(self, name: str, more: str) -> Iterator[None]:
        """A file with some text at its end, meanwhile."""
        path = self.package / name
        before = path.read_text()
        path.write_text(before + more)
        try:
            yield
        finally:
            path.write_text(before)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")
