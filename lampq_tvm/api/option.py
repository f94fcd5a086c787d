"""How a verb's options are declared: once, as the fields of a frozen dataclass, which is the verb's request.

From such a class come the command's options and help (`cli.command`), the Python function's keywords (`taking`), the rows shown
before work, and the table in `docs/cli.md`. Groups of options that several verbs share are classes that requests inherit.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

P = ParamSpec("P")
Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True)
class Option:
    """How a field is written on a command line; stands in its annotation.

    Attributes:
        help: one line.
        flags: its names; `--` and the field's where none are given. After a `--no-...` the field is False.
        argument: it has a place instead of a name; its only flag is then what the help calls it.
        written: the type of what is written, where `read` makes the field's value of that.
        read: see there; is not asked where nothing is written.
        shown: the default as it is written, where that is not the field's.
        required: has to be written, though a Python caller may leave it out.
    """

    help: str
    flags: tuple[str, ...] = ()
    argument: bool = False
    written: object = str | None
    read: Callable[[Any], object] | None = None
    shown: str | None = None
    required: bool = False


@dataclass(frozen=True)
class Declared:
    """A field with its option.

    Attributes:
        type: of its values.
        default: `dataclasses.MISSING` where it has none.
    """

    name: str
    type: object
    option: Option
    default: object

    @property
    def flags(self) -> tuple[str, ...]:
        """Its names on a command line."""
        return self.option.flags or (self.name if self.option.argument else f"--{self.name.replace('_', '-')}",)

    @property
    def place(self) -> str:
        """What a command line's parser calls it."""
        return self.flags[0] if self.option.argument else self.name

    @property
    def opposite(self) -> bool:
        """Whether writing it makes the field False."""
        return self.flags[0].startswith("--no-")

    @property
    def written_type(self) -> object:
        """The type of what is written."""
        return self.type if self.option.read is None else self.option.written

    @property
    def written_default(self) -> object:
        """What stands for the option where it is not written; `MISSING` where it must be."""
        if self.option.required or self.default is MISSING:
            return MISSING
        if self.option.read is not None:
            return self.option.shown
        return not self.default if self.opposite else self.default

    def value(self, written: Any) -> object:
        """The field's value for what was written."""
        if self.option.read is not None:
            return self.option.read(written)
        return not written if self.opposite else written


@dataclass(frozen=True)
class Group:
    """Options that belong together. Each class checks its own in `check`, when a request is made."""

    def __post_init__(self) -> None:
        """Bring paths that were given as text into their form, then check every group, those at the bottom first."""
        for each in declared(type(self)):
            value = getattr(self, each.name)
            kinds = {each.type, *get_args(each.type)}
            if isinstance(value, str) and Path in kinds and str not in kinds:
                object.__setattr__(self, each.name, Path(value))
            elif isinstance(value, Path) and Path not in kinds:
                object.__setattr__(self, each.name, str(value))
        for kind in reversed(type(self).__mro__):
            if "check" in vars(kind):
                vars(kind)["check"](self)

    def check(self) -> None:
        """Refuse values that are wrong in themselves.

        Raises:
            LampqError: what is wrong.
        """

    def shown(self) -> dict[str, str]:
        """Every option as text, for the table printed before work starts."""
        rows = {}
        for each in declared(type(self)):
            value = getattr(self, each.name)
            if isinstance(value, Mapping):
                value = " ".join(f"{k}={json.dumps(v)}" for k, v in value.items())
            elif isinstance(value, Sequence) and not isinstance(value, str):
                value = " ".join(str(v) for v in value)
            rows[each.name.replace("_", "-")] = "-" if value is None or value == "" else str(value)
        return rows


def declared(request: type[Group]) -> tuple[Declared, ...]:
    """The options of a request: its own first, then those of its groups in the order in which it names them."""
    return tuple(_declared(request))


def _declared(request: type[Group]) -> Iterator[Declared]:
    hints = get_type_hints(request, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(request)}
    names = dict.fromkeys(name for kind in request.__mro__ for name in inspect.get_annotations(kind) if name in fields)
    for name in names:
        if get_origin(hints[name]) is Annotated:
            kind, *more = get_args(hints[name])
            factory = fields[name].default_factory
            default = fields[name].default if factory is MISSING else factory()
            yield from (Declared(name, kind, option, default) for option in more if isinstance(option, Option))


def taking(request: Callable[P, Q]) -> Callable[[Callable[[Q], R]], Callable[P, R]]:
    """A verb's Python function: what works on a request is called with the request's fields, which its help lists."""

    def decorate(work: Callable[[Q], R]) -> Callable[P, R]:
        @functools.wraps(work)
        def verb(*args: P.args, **kwargs: P.kwargs) -> R:
            return work(request(*args, **kwargs))

        assert isinstance(request, type) and issubclass(request, Group)
        verb.__dict__["__signature__"] = _signature(request)
        lines = [f"    {each.name}: {each.option.help}" for each in declared(request)]
        verb.__doc__ = "\n".join([f"{inspect.getdoc(work)}\n", "Args:", *lines])
        return verb

    return decorate


def _signature(request: type[Group]) -> inspect.Signature:
    """A request's, without what is said about the command line."""
    places = {field.name: bool(field.kw_only) for field in dataclasses.fields(request)}
    kinds = {False: inspect.Parameter.POSITIONAL_OR_KEYWORD, True: inspect.Parameter.KEYWORD_ONLY}
    found = []
    for each in sorted(declared(request), key=lambda each: places[each.name]):
        default = inspect.Parameter.empty if each.default is MISSING else each.default
        found.append(inspect.Parameter(each.name, kinds[places[each.name]], default=default, annotation=each.type))
    return inspect.Signature(found)
