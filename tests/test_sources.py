"""Which files and libraries some modules depend on: as Python's parser and its import machinery see it."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from lampq_tvm.resources import PACKAGE
from lampq_tvm.sources import ASIDE, DATA, DISTRIBUTIONS, imported_names, libraries, library_version, source_files
from lampq_tvm.stage_cache import STAGES
from tests.copies import CODE_KEYS, Copy
from tests.copies import copy as copy

FILES = sorted(PACKAGE.rglob("*.py"))
WORKS = {**{name: work.runs for name, work in STAGES.items()}, **{f"{n} gpu": w.gpu for n, w in STAGES.items() if w.gpu}}


def parsed(tree: ast.AST) -> Iterator[str]:
    """Dotted names that code imports, those for type checking left out."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        for node in tree.orelse:
            yield from parsed(node)
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, "imports are absolute here"
        yield from (str(tree.module), *(f"{tree.module}.{alias.name}" for alias in tree.names))
    for node in ast.iter_child_nodes(tree):
        yield from parsed(node)


def test_imports_are_those_of_pythons_parser():
    """And those of code that stands in a text, which other processes run."""
    for path in FILES:
        text = path.read_text()
        tree = ast.parse(text)
        names, found = set(parsed(tree)), set(imported_names(text))
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        assert names <= found, path
        assert all(any(name.rpartition(".")[2] in piece for piece in texts) for name in found - names), path


FORMS = """
import a, b.c as d, e  # import f
from g import h as i, j
from k import (  # and so on
    l as m,  # l
    n,
)
if TYPE_CHECKING:  # TVM behind it takes seconds
    from out import of

    import reach
else:
    import o
class P:
    if TYPE_CHECKING:
        import away
    q = 1
    def r(self):
        from s.t import u; print(u)
        try:
            import v
        except ImportError: pass
if x: y
important = 1
"""


def test_every_form_of_an_import():
    names = set(imported_names(FORMS))
    assert names == set(parsed(ast.parse(FORMS)))
    assert {"b.c", "g.h", "k.l", "k.n", "o", "s.t.u", "v"} <= names and not names & {"out", "out.of", "reach", "away", "f"}


def test_each_stage_covers_what_it_really_imports():
    """What Python has loaded after a stage's modules were imported; functions' own imports: `tests/api/test_keys.py`."""
    code = """
    import importlib, json, os, sys
    import numpy, safetensors.numpy, torch, tvm  # once, before the ways part
    for name, modules in json.loads(sys.argv[1]).items():
        if os.fork() == 0:
            for module in modules:
                importlib.import_module(f"lampq_tvm.{module}")
            loaded = [m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] == "lampq_tvm"]
            os.write(1, (json.dumps([name, loaded]) + "\\n").encode())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    """
    command = [sys.executable, "-c", textwrap.dedent(code), json.dumps(WORKS)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = dict(map(json.loads, lines))
    assert set(found) == set(WORKS)
    for name, modules in WORKS.items():
        files = {str(path) for path in source_files(*modules)}
        assert len(found[name]) > len(modules) and not set(found[name]) - files, name


def test_names_of_libraries_are_those_of_their_distributions():
    """By what the installed packages say themselves, which takes too long to ask for in every command."""
    truth = importlib.metadata.packages_distributions()
    for path in FILES:
        for name in {name.partition(".")[0] for name in imported_names(path.read_text())} - {
            "lampq_tvm",
            *sys.stdlib_module_names,
        }:
            if name in truth and name not in ASIDE:  # what is not installed here has no version to differ
                mine = {each.replace("_", "-").lower() for each in DISTRIBUTIONS.get(name, (name,))}
                assert {each.replace("_", "-").lower() for each in truth[name]} <= mine, name
    assert not [each for names in DISTRIBUTIONS.values() for each in names if not library_version(each)]


def test_libraries_are_those_that_a_stage_uses():
    assert {"torch", "timm", "onnx", "safetensors"} <= set(libraries(*WORKS["import"]))
    assert {"apache-tvm", "apache-tvm-ffi", "numpy"} <= set(libraries(*WORKS["build"])) & set(libraries(*WORKS["build gpu"]))
    assert not {"apache-tvm", "timm", "pillow", "xgboost"} & set(libraries(*WORKS["quantize"]))
    assert libraries(*WORKS["plan"])["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_data_files_are_of_known_kinds():
    inside = {path.suffix for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert inside <= {".py", ".typed", *DATA}
    assert {PACKAGE / "device/count.c", PACKAGE / "device/classes.h"} <= source_files(*WORKS["latency"])


def test_an_unknown_module_is_a_bug():
    with pytest.raises(AssertionError, match=r"lampq_tvm\.frontend\.lode"):
        source_files("frontend.lode")


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name, key in before.items() if after[name] != key}


EDITS = {
    "cli/plan.py": set(),
    "api/evaluating.py": set(),
    "allocate/ilp.py": set(),
    "tune/search.py": set(),
    "frontend/trace.py": {"import"},
    "calibrate/search.py": {"calibrate"},
    "sensitivity/fisher.py": {"sensitivity"},
    "quantize/build.py": {"latency", "latency gpu", "plan", "quantize"},  # a build's key holds that of quantize
    "kernels/cuda/emit.py": {"latency gpu", "build gpu"},
    "ptx/machine.py": {"latency gpu", "build gpu"},
    "kernels/softmax.py": {"latency", "latency gpu", "build", "build gpu"},
    "device/count.c": {"latency", "latency gpu", "build", "build gpu"},
    "api/compiling.py": {"build", "build gpu"},
    "api/stages.py": {"import", "calibrate", "sensitivity", "refit"},
    "calibrate/refit.py": {"refit"},
    "errors.py": {*WORKS},
    "recipes/default.toml": set(),  # what it says is in the keys of the stages that do it
    "recipes/schema.py": {"calibrate", "sensitivity", "refit"},
}


def test_a_comment_changes_the_keys_of_its_stages_alone(copy: Copy):
    before = copy.run(CODE_KEYS)
    assert set(before) == set(WORKS) and copy.run(CODE_KEYS) == before
    for name, expected in EDITS.items():
        with copy.edited(name, "\n// a comment\n" if name.endswith(".c") else "\n# a comment\n"):
            assert changed(before, copy.run(CODE_KEYS)) == expected, name


def test_a_room_that_is_scanned_counts_with_all_its_files(copy: Copy):
    for call in ('load_all("lampq_tvm.odd")', "load_all(__name__)", "KINDS = Registry[str, int]('kind', __package__)"):
        copy.write("odd/__init__.py", f"from lampq_tvm.registry import Registry, load_all\n{call}\n")
        copy.write("odd/one.py", "")
        with copy.edited("quantize/constants.py", "\nimport lampq_tvm.odd\n"):
            before = copy.run(CODE_KEYS)
            with copy.edited("odd/one.py", "# one\n"):
                assert "quantize" in changed(before, copy.run(CODE_KEYS)), call
            copy.write("odd/two.py", "")
            assert "quantize" in changed(before, copy.run(CODE_KEYS)), call
        copy.remove("odd")


def test_keys_are_made_fast():
    """All stages of a command, beside what parsing the package takes; CPU time of one process, for other tests run beside."""
    code = """
    import ast, time
    from lampq_tvm.resources import PACKAGE
    from lampq_tvm.stage_cache import STAGES, code_key
    start = time.process_time()
    for stage in STAGES:
        code_key(stage)
    middle = time.process_time()
    for path in PACKAGE.rglob("*.py"):
        ast.parse(path.read_text())
    print(middle - start, time.process_time() - middle)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    runs = [map(float, subprocess.run(command, capture_output=True, check=True).stdout.split()) for _ in range(4)]
    keys, parsing = (min(seconds) for seconds in zip(*runs, strict=True))
    assert keys / parsing < 0.3  # 0.15 s where the package is parsed in half a second
