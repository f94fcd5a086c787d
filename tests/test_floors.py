"""Who may import whom: every room of the package imports rooms of lower floors only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lampq_tvm

PACKAGE = Path(lampq_tvm.__file__).parent
# From the ground up; rooms of one floor do not know each other. `docs/architecture.md` says what each of them is.
FLOORS = (
    ("errors", "heap", "kinds", "lean", "memfile", "progress", "quiet"),
    ("arrays", "files", "locks", "registry", "resources", "spread"),
    ("levels", "quantizers", "sources", "store"),
    ("targets",),
    ("artifact", "network", "scratch", "stage_cache"),
    ("bitplan", "data", "device", "frontend", "kernels", "rewrites"),
    ("recipes",),
    ("calibrate", "parts", "records"),
    ("quantize", "sensitivity"),
    ("debugging", "lower", "oracle"),
    ("compiler", "ptx", "runtime"),
    ("latency", "tune"),
    ("allocate",),
    ("api",),
    ("cli",),
    ("__main__",),
)
# (room, room above it that it imports all the same): why.
EXCEPTIONS: dict[tuple[str, str], str] = {}
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def _rooms() -> set[str]:
    found = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    return found - {"__init__"}


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, room) of every import of this package, those for type checking left out."""
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    guarded = {id(inner) for guard in guards for inner in ast.walk(guard)}
    for node in (n for n in ast.walk(tree) if id(n) not in guarded):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "lampq_tvm" else [module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name.split(".")[1]) for name in names if name.startswith("lampq_tvm."))


def _arrows() -> Iterator[tuple[str, str, str]]:
    """(place, room, room that it imports)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for line, other in _imported(ast.parse(path.read_text())):
            if room not in (other, "__init__") and other != "__version__":
                yield f"{path.relative_to(PACKAGE)}:{line}", room, other


def test_every_room_has_its_floor() -> None:
    assert set(FLOOR) == _rooms()


def test_no_arrow_runs_up() -> None:
    up = [f"{place}: {a} imports {b}" for place, a, b in _arrows() if FLOOR[a] <= FLOOR[b] and (a, b) not in EXCEPTIONS]
    assert not up, "\n".join(["these imports run up or along a floor:", *up])


def test_every_exception_is_needed() -> None:
    arrows = {(a, b) for _, a, b in _arrows()}
    assert set(EXCEPTIONS) <= arrows and len(EXCEPTIONS) <= 5


def test_number_of_pairs_that_import_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    arrows = {(a, b) for _, a, b in _arrows()}
    pairs = {tuple(sorted(arrow)) for arrow in arrows if arrow[::-1] in arrows}
    with capsys.disabled():
        print(f"\nrooms: {len(FLOOR)}, pairs that import each other: {len(pairs)}")
    assert not pairs
