"""Options are declared once: command, help, Python function, request and docs all come from there."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import typer

import lampq_tvm
from lampq_tvm import api
from lampq_tvm.__main__ import app
from lampq_tvm.api import requests
from lampq_tvm.api.option import Group, Option, declared
from lampq_tvm.api.options import Options
from lampq_tvm.api.requests import CompileRequest, EvalRequest, TuneRequest
from lampq_tvm.cli.command import command
from lampq_tvm.errors import UsageError
from lampq_tvm.resources import PACKAGE

DOCS = PACKAGE.parent / "docs" / "cli.md"
REQUESTS = {name.removesuffix("Request").lower(): kind for name, kind in vars(requests).items() if name.endswith("Request")}


def options() -> Iterator[tuple[str, str, str]]:
    """(verb, option, help and default) of every command, as the command line's parser has them."""

    def walk(name: str, found: object) -> Iterator[tuple[str, str, str]]:
        for child, inner in getattr(found, "commands", {}).items():
            yield from walk(f"{name} {child}".strip(), inner)
        for each in getattr(found, "params", ()):
            flags = "/".join([*sorted(each.opts, key=len), *each.secondary_opts])
            if name and each.param_type_name == "option" and flags != "--help":
                plain = each.required or each.default is None or each.default is False
                yield name, flags, each.help if plain else f"{each.help} [default: {each.default}]"

    yield from walk("", typer.main.get_command(app))


def table() -> str:
    """The table of `docs/cli.md`."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for verb, flags, text in options():
        verbs.setdefault((flags, text), []).append(verb)
    rows = [f"| `{flags}` | {', '.join(names)} | {text} |" for (flags, text), names in sorted(verbs.items())]
    return "\n".join(["| option | of | |", "|---|---|---|", *rows]).replace("<", "&lt;")


def test_the_docs_list_every_option():
    assert table() in DOCS.read_text("utf-8"), f"docs/cli.md lacks this table:\n{table()}"


@pytest.mark.parametrize("verb", REQUESTS)
def test_python_and_the_command_line_take_the_same(verb):
    """By name, with the same default; what only prints is the command line's own."""
    function, names = api.verb(verb), [each.name for each in declared(REQUESTS[verb])]
    found = inspect.signature(function)
    assert sorted(found.parameters) == sorted(names) and function.__name__ == verb
    assert all(f"{name}: " in (function.__doc__ or "") for name in names)
    fields = {field.name for field in dataclasses.fields(REQUESTS[verb])}
    assert fields == set(names)  # each field has its option
    flags = {flags for name, flags, _ in options() if name == verb}
    own = {"/".join(sorted(each.flags, key=len)) for each in declared(REQUESTS[verb]) if not each.option.argument}
    assert own <= flags <= own | {"--json", "--asm"}


def written(kind: type[Group], *argv: str) -> Group:
    """The request of a command line."""
    made: list[Group] = []

    def verb(request: Group) -> None:
        made.append(request)

    verb.__annotations__ = {"request": kind}
    parser = typer.Typer()
    parser.command()(command(verb))
    typer.main.get_command(parser).main(args=list(argv), standalone_mode=False)
    return made[0]


def test_a_command_line_is_the_request_of_its_keywords(tmp_path):
    line = ["vit", "-o", "a.lampq", "--model-arg", "depths=[2,2]", "--model-arg", "act=gelu", "--mean", "0.5,0.25",
            "--budget", "4bit", "--budget", "1MiB", "--separate", "--metric", "fisher-output", "--no-update", "--no-cache",
            "--float-layers", "head,*.fc2", "--skip-broken", "--max-drop", "1.5", "--jobs", "2",
            "--data", str(tmp_path)]  # fmt: skip
    expected = CompileRequest(
        "vit", output=Path("a.lampq"), model_args={"depths": [2, 2], "act": "gelu"}, mean=(0.5, 0.25), budgets=("4bit", "1MiB"),
        tied=False, metric="fisher_output", update=False, use_cache=False, float_layers=("head", "*.fc2"), skip_broken=True,
        max_drop=1.5, jobs=2, data=tmp_path,
    )  # fmt: skip
    assert written(CompileRequest, *line) == expected


@pytest.mark.parametrize("verb", REQUESTS)
def test_what_is_not_written_has_the_default_of_python(verb):
    least = {"compile": ["m", "-o", "o"], "plan": ["m", "-o", "o"], "measure": ["m", "-o", "o"], "tune": ["m"],
             "run": ["a", "--input", "i", "--output", "o"], "eval": ["a", "--data", "d"], "bench": ["a"], "inspect": ["a"],
             "doctor": [], "cache": [], "sensitivity": ["m"], "debug": ["a", "--data", "d"]}  # fmt: skip
    python = {verb: {"output": "o"} for verb in ("compile", "plan", "measure")}
    python |= {"run": {"input": "i", "output": "o"}, "eval": {"data": "d"}, "debug": {"data": "d"}}
    first = [text for text in least[verb][:1] if not text.startswith("-")]
    assert written(REQUESTS[verb], *least[verb]) == REQUESTS[verb](*first, **python.get(verb, {}))


def test_texts_become_paths_and_wrong_keywords_are_refused():
    request = EvalRequest("a.lampq", data="images", class_map="map.txt")
    assert (request.artifact, request.data, request.class_map) == (Path("a.lampq"), Path("images"), Path("map.txt"))
    assert CompileRequest(Path("m.onnx"), output="o").model == "m.onnx"
    for function, more in ((lampq_tvm.measure, {"budgets": ("4bit",)}), (lampq_tvm.eval, {"data": "d", "nonsense": 1})):
        with pytest.raises(TypeError):
            function("m", **more)
    with pytest.raises(UsageError, match="--trials"):
        TuneRequest("m", trials=0)


def test_options_of_a_verb_are_those_of_the_stages():
    found = Options.of(TuneRequest("m", trials=5, budgets=("3bit",), target="raspberry-pi-5"))
    assert (found.model, found.trials, found.budgets, found.target) == ("m", 5, ("3bit",), "raspberry-pi-5")
    assert found == Options("m", trials=5, budgets=("3bit",), target="raspberry-pi-5")
    assert Options("m").budgets == ("8bit",) and Options("m", float_layers=("head",)).budgets == ()


def test_a_group_is_all_that_an_option_takes():
    """A new option is one field of a group: it has a flag, help, a default and a check."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Extra(Group):
        answer: Annotated[int, Option("The answer.")] = 42

        def check(self) -> None:
            if self.answer < 0:
                raise UsageError("is negative", where="--answer")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Both(TuneRequest, Extra):
        pass

    assert written(Both, "m", "--answer", "7").answer == 7 and written(Both, "m").answer == 42
    with pytest.raises(UsageError, match="--answer: is negative"):
        written(Both, "m", "--answer", "-1")


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.name)
def test_nothing_is_passed_on_untyped(path):
    names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
    assert not names & {"Any", "locals"}
