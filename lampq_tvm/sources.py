"""What code runs for a result: the files of this package that some modules import, however far, and the libraries they use.

Files are read once a process, as the process does that runs them. Their imports are found by patterns, many times faster than
by parsing; a test holds them equal to what Python's own parser finds in every file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from lampq_tvm.resources import PACKAGE

NAME = PACKAGE.name
DATA = (".c", ".h", ".toml")  # suffixes of files that a package's code reads from its own folder
GUARDED = re.compile(r"^([ \t]*)if TYPE_CHECKING:.*\n(?:\1[ \t]+.*\n|[ \t]*\n)*", re.M)
IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]*(\([^)]*\)|[^\n;]*)|import[ \t]+([^\n;]+))", re.M)
# A module that is run, or a room whose files are found by scanning its folder, is named in quotes; a room also by itself.
QUOTED = re.compile(rf"""["']({NAME}(?:\.\w+)+)["']""")
OWN = re.compile(r"\b(?:Registry\b[^()]*|load_all)\([^()]*\b__(?:package|name)__")
VERSION = re.compile(r"^Version:(.+)$", re.M)
ASIDE_OF_NAMES = re.compile(r"#.*|[()]")
# Distributions that are not called as what is imported of them, or that work behind it.
DISTRIBUTIONS = {
    "PIL": ("pillow",),
    "mip": ("mip", "highspy"),
    "timm": ("timm", "torchvision"),
    "tvm": ("apache-tvm", "apache-tvm-ffi"),
    "tvm_ffi": ("apache-tvm-ffi",),
}
# Files that a request chooses from: the keys of the stages that one decides hold what it says.
CHOSEN = ("recipes",)
ASIDE = {"filelock", "platformdirs", "rich"}  # find folders, hold locks, show progress: no result depends on them


def source_digest(*modules: str) -> str:
    """Hex sha256 over every file of this package that modules run, so that changed code never meets old results.

    Args:
        modules: by name below this package (`frontend.load`); with those that they import at any time, functions' own imports
            included and those for type checking not, the packages around them, and the data files beside all of these.

    Raises:
        AssertionError: there is no such module.
    """
    return _digest(source_files(*modules))


def text_digest(*modules: str) -> str:
    """Hex sha256 over modules' own files alone."""
    return _digest(frozenset(_modules()[f"{NAME}.{module}"] for module in modules))


def package_digest() -> str:
    """Hex sha256 over every file of this package."""
    return _digest(frozenset(_files()))


@functools.cache
def source_files(*modules: str) -> frozenset[Path]:
    """The files that `source_digest` covers."""
    found = frozenset(_modules()[name] for name in _closure(*modules))
    folders = {path.parent for path in found}
    folders -= {PACKAGE / name for name in CHOSEN}
    return found | {path for path in _data_files() if path.parent in folders}


@functools.cache
def libraries(*modules: str) -> dict[str, str]:
    """Versions of Python and of the installed packages that modules import, however far, by the packages' names."""
    used = frozenset().union(*(_imports(name)[1] for name in _closure(*modules))) - sys.stdlib_module_names - ASIDE
    found = {each: library_version(each) for name in used for each in DISTRIBUTIONS.get(name, (name.replace("_", "-"),))}
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}", **dict(sorted(found.items()))}


@functools.cache
def library_version(name: str) -> str:
    """Version of an installed package, empty where it is missing."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return ""
    line = VERSION.search(found.read_text("METADATA") or "")  # parsing the whole as a message takes longer than all else
    return line[1].strip() if line else found.version


def imported_names(text: str) -> Iterator[str]:
    """Dotted names that a module's text imports at some time; of `from a import b` both `a` and `a.b`, module or not."""
    for origin, names, modules in IMPORT.findall(GUARDED.sub("", text) if "TYPE_CHECKING" in text else text):
        listed = names or modules
        plain = ASIDE_OF_NAMES.sub("", listed) if "(" in listed or "#" in listed else listed
        each = [part.split()[0] for part in plain.split(",") if part.strip()]
        yield from (origin, *(f"{origin}.{name}" for name in each)) if origin else each


@functools.cache
def _closure(*modules: str) -> frozenset[str]:
    """Modules, and those of this package that they import, however far."""
    left = {f"{NAME}.{module}" for module in modules}
    missing = left - _modules().keys()
    if missing:
        raise AssertionError(f"no such modules: {' '.join(sorted(missing))}")
    found: set[str] = set()
    while left:
        found |= left
        left = set().union(*(_imports(name)[0] for name in left)) - found
    return frozenset(found)


@functools.cache
def _imports(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """(modules of this package, first names of the others) that one imports; Python runs the packages around it first."""
    text = _read(_modules()[module]).decode()
    names = set(imported_names(text))
    rooms = set(QUOTED.findall(text)) if f'"{NAME}.' in text or f"'{NAME}." in text else set()
    if ("Registry" in text or "load_all" in text) and OWN.search(text):  # the pattern alone is slow
        rooms.add(module if _modules()[module].name == "__init__.py" else module.rpartition(".")[0])
    inside = set().union(*(_inside().get(room, ()) for room in rooms))
    own = {name for name in names if name.partition(".")[0] == NAME} | rooms | inside
    around = {".".join(parts[:end]) for parts in map(_parts, {module, *own}) for end in range(1, len(parts))}
    others = {name.partition(".")[0] for name in names - own}
    return frozenset((own | around) & _modules().keys()), frozenset(others)


@functools.cache
def _parts(name: str) -> list[str]:
    return name.split(".")


@functools.cache
def _modules() -> dict[str, Path]:
    """The file of each of this package's modules, by dotted name."""
    found = {}
    for path in _files():
        if path.name.endswith(".py"):
            name = f"{NAME}/{_place(path)}".removesuffix(".py").removesuffix("/__init__")
            found[name.replace("/", ".")] = path
    return found


@functools.cache
def _inside() -> dict[str, set[str]]:
    """The modules of each room, by dotted names."""
    found: dict[str, set[str]] = {}
    for name in _modules():
        found.setdefault(name.rpartition(".")[0], set()).add(name)
    return found


@functools.cache
def _data_files() -> tuple[Path, ...]:
    """Those of `_files` that are no modules."""
    return tuple(path for path in _files() if path.suffix in DATA)


@functools.cache
def _files() -> tuple[Path, ...]:
    """Every source and data file of this package."""
    wanted = (".py", *DATA)
    return tuple(Path(folder, name) for folder, _, names in os.walk(PACKAGE) for name in names if name.endswith(wanted))


@functools.cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


@functools.cache
def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(sorted(map(_stamp, files)))).hexdigest()


def _place(path: Path) -> str:
    """A file's path below this package, with slashes."""
    return str(path)[len(str(PACKAGE)) + 1 :].replace(os.sep, "/")


@functools.cache
def _stamp(path: Path) -> bytes:
    """A file's name and the digest of what it holds: stages share most of their files."""
    return f"{_place(path)}\0{hashlib.sha256(_read(path)).hexdigest()}\0".encode()
