"""How the benches lie: each is a module that says how it is run, and none imports another."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from lampq_tvm.resources import PACKAGE

ROOT = PACKAGE.parent
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted((ROOT / "bench").rglob("*.py"))}
# Run where this project is not: in a peer's environment or on a board.
PEERS = "bench.common.peers"
SCRIPTS = {"bench.common.worker", *(f"{PEERS}.{name}" for name in ("litert_convert", "openvino_convert", "foreign_quantize"))}


def is_bench(path: Path) -> bool:
    return 'if __name__ == "__main__":' in path.read_text("utf-8")


BENCHES = {name: path for name, path in MODULES.items() if is_bench(path) and name not in SCRIPTS}


def imported(path: Path) -> set[str]:
    """Modules that a file names in its imports, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_there_are_benches():
    assert len(BENCHES) > 25 and {"bench.demo", "bench.speed.host_peers", "bench.cuda.check"} <= set(BENCHES)


@pytest.mark.parametrize("name", MODULES)
def test_no_bench_is_imported(name):
    assert not imported(MODULES[name]) & (set(BENCHES) | SCRIPTS)


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_says_how_it_is_run(name):
    assert f"python -m {name}" in (ast.get_docstring(ast.parse(BENCHES[name].read_text("utf-8"))) or "")


def test_every_module_can_be_imported():
    """Benches are run rarely: what they take from the package must be where they look for it."""
    names = [name.removesuffix(".__init__") for name in MODULES if name not in SCRIPTS]
    code = f"import importlib\nfor name in {names!r}:\n    importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
