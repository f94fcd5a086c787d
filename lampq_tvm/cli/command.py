"""A verb's command, made of the verb's request: one parameter for each option that the request declares."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import get_type_hints

import typer

from lampq_tvm.api.option import Declared, Group, declared


def command(verb: Callable[..., None]) -> Callable[..., None]:
    """What typer takes, of a function whose parameters are groups of options."""
    groups: dict[str, type[Group]] = {name: kind for name, kind in get_type_hints(verb).items() if name != "return"}

    @functools.wraps(verb)
    def run(**written: object) -> None:
        verb(**{name: _made(kind, written) for name, kind in groups.items()})

    parameters = [_parameter(each) for kind in groups.values() for each in declared(kind)]
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {}
    return run


def _made(kind: type[Group], written: Mapping[str, object]) -> Group:
    """A group of what was written; what was not is left to its default."""
    given = [each for each in declared(kind) if each.option.read is None or written[each.place] not in (None, [])]
    make: Callable[..., Group] = kind
    return make(**{each.name: each.value(written[each.place]) for each in given})


def _parameter(each: Declared) -> inspect.Parameter:
    default = ... if each.written_default is MISSING else each.written_default
    option = each.option
    shown = (
        typer.Argument(default, help=option.help) if option.argument else typer.Option(default, *each.flags, help=option.help)
    )
    return inspect.Parameter(each.place, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=each.written_type)
