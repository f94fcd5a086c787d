"""Reads files that others may have written: regular ones only, sizes before contents, every document against its schema."""

from __future__ import annotations

import difflib
import json
import os
import stat
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pydantic
import pydantic_core

from lampq_tvm.errors import CorruptError, LampqError, UnsupportedError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCUMENT_BYTES = 16 << 20  # of a JSON or TOML file; the largest latency table has some 100 kB
PIECE_BYTES = 1 << 20
LONGEST = 160  # characters of a reason, which may quote the file
NEWER_HINT = "update lampq"


class Schema(pydantic.BaseModel):
    """A piece of a file: nothing but the fields that it names, and finite numbers."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=pydantic.BaseModel)


def read_bytes(
    path: Path,
    what: str,
    limit_bytes: int = DOCUMENT_BYTES,
    *,
    unreadable: type[LampqError] = UsageError,
    broken: type[LampqError] = UsageError,
    hint: str | None = None,
) -> bytes:
    """The content of a regular file; a pipe, a device or a socket is never waited for.

    Args:
        what: it is, with its article (`the plan`).
        limit_bytes: the most that one may hold; a larger one is not read.
        unreadable: raised where there is no such file, or something else in its place.
        broken: raised where it is too large.
        hint: what would work.

    Raises:
        LampqError: one of the two.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket"
                raise unreadable(f"{what} is {kind}, not a file", where=str(path), hint=hint or "check the path")
            raw = b"" if status.st_size > limit_bytes else _read_all(file, status.st_size, limit_bytes)
    except (OSError, ValueError) as e:  # ValueError: a path with a zero byte
        reason = (e.strerror if isinstance(e, OSError) else None) or e
        raise unreadable(f"cannot read {what} ({reason})", where=str(path), hint=hint or "check the path") from e
    if max(status.st_size, len(raw)) > limit_bytes:
        size = f"{max(status.st_size, len(raw))} bytes, more than {limit_bytes}"
        raise broken(f"too large for {what.removeprefix('the ')} ({size})", where=str(path), hint=hint)
    return raw


def _read_all(file: BinaryIO, size: int, limit_bytes: int) -> bytes:
    """A file's bytes, or more than `limit_bytes` of one that grew; reading so many at once would take memory for them all."""
    raw = file.read(size + 1)
    while size < len(raw) <= limit_bytes and (more := file.read(PIECE_BYTES)):
        raw += more
    return raw


def read_json(
    path: Path,
    schema: type[S],
    what: str,
    *,
    unreadable: type[LampqError] = UsageError,
    broken: type[LampqError] = CorruptError,
    hint: str | None = None,
) -> S:
    """A JSON file as an object of its schema; arguments of `read_bytes`, errors of it and of `parse_json`."""
    raw = read_bytes(path, what, unreadable=unreadable, broken=broken, hint=hint)
    return parse_json(raw, schema, what, str(path), broken=broken, hint=hint)


def parse_json(
    raw: bytes,
    schema: type[S],
    what: str,
    where: str,
    *,
    broken: type[LampqError] = CorruptError,
    hint: str | None = None,
    strict: bool | None = None,
) -> S:
    """JSON text as an object of its schema.

    Args:
        where: names it in errors.
        strict: take no number for text, no text for a number.

    Raises:
        LampqError: `broken`, where it is none. UnsupportedError: its `version` is newer.
    """
    try:
        return schema.model_validate_json(raw, strict=strict)
    except (pydantic.ValidationError, RecursionError) as e:
        raise _refused(e, schema, what, where, broken, hint) from e


def read_toml(
    path: Path,
    schema: type[S],
    what: str,
    *,
    unreadable: type[LampqError] = UsageError,
    broken: type[LampqError] = UsageError,
    hint: str | None = None,
    strict: bool | None = None,
) -> S:
    """A TOML file as an object of its schema; arguments and errors of `read_bytes`, `strict` of `parse_json`."""
    raw = read_bytes(path, what, unreadable=unreadable, broken=broken, hint=hint)
    try:
        # By way of JSON, in which a strict schema takes lists for tuples.
        return schema.model_validate_json(json.dumps(tomllib.loads(raw.decode("utf-8"))), strict=strict)
    except (ValueError, RecursionError, AttributeError, TypeError) as e:  # tomllib has several for what it cannot read
        raise _refused(e, schema, what, str(path), broken, hint) from e


def loads_json(raw: bytes) -> Any:
    """A JSON value, with a limit on its depth and without NaN.

    Raises:
        ValueError: it is none.
    """
    return pydantic_core.from_json(raw, allow_inf_nan=False)


def reason(error: BaseException) -> str:
    """The first thing that is wrong, in one short printable line; of a schema with the place."""
    text = str(error) or type(error).__name__
    if isinstance(error, pydantic.ValidationError):
        first = _first(error)
        place = _place(first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        text = f"{place}: {message}" if place else message
    line = next(iter(text.strip().splitlines()), "")
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _first(error: pydantic.ValidationError) -> Any:
    """What to tell of a document that its schema refuses: a key that is unknown before one that it was meant to be."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return min(found, key=lambda one: one["type"] != "extra_forbidden")


def _nearest_key(error: Exception, schema: type[pydantic.BaseModel]) -> str | None:
    """What may have been meant by a key that a schema does not know; None where something else is wrong."""
    if not isinstance(error, pydantic.ValidationError) or _first(error)["type"] != "extra_forbidden":
        return None
    *before, key = _first(error)["loc"]
    for part in before:
        field = schema.model_fields.get(str(part))
        schema = next(_schemas(field.annotation), schema) if field is not None else schema
    near = difflib.get_close_matches(str(key), schema.model_fields, n=1)
    return f"did you mean {near[0]}?" if near else f"its keys are {', '.join(schema.model_fields)}"


def _schemas(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    """The schemas within a type."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _schemas(inner)


def _place(loc: Sequence[int | str]) -> str:
    text = ".".join(str(part) for part in loc)
    return text if len(text) <= LONGEST // 2 else f"{text[: LONGEST // 2]}..."


def _refused(
    error: Exception, schema: type[pydantic.BaseModel], what: str, where: str, broken: type[LampqError], hint: str | None
) -> LampqError:
    """The error of a document that its schema refuses."""
    if isinstance(error, pydantic.ValidationError):
        for found in error.errors(include_url=False, include_context=False):
            version = found["input"]
            if found["loc"] == ("version",) and type(version) is int and version > 1:
                return UnsupportedError(f"{what} was made by a newer lampq (version {version})", where=where, hint=NEWER_HINT)
    text = f"not a valid {what.removeprefix('the ')}: {reason(error)}"
    return broken(text, where=where, hint=_nearest_key(error, schema) or hint)
