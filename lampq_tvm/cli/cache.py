"""`lampq cache`: what lies in the cache, and making it smaller."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lampq_tvm.cli import options as o

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
TIMES = ((86400, "d"), (3600, "h"), (60, "min"))


def cache(
    action: Annotated[Literal["clear"] | None, typer.Argument(help="Remove all that can be made again.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Remove the least recently used stages until it fits: 5GiB.")] = None,
    older_than: Annotated[str | None, typer.Option(help="Remove what was not used for so long: 30d.")] = None,
    json: o.Json = False,
) -> None:
    """Show the cache, limit its size, remove what is old. Tuning records are never removed."""
    from lampq_tvm.api.caching import cache as look
    from lampq_tvm.cli.output import print_json, print_table

    found = look(clear=action == "clear", max_size=max_size, older_than=older_than)
    if json:
        print_json(found)
        return
    ages = ("newest_age_s", "oldest_age_s")
    rows = [(r["kind"], r["number"], _size(r["bytes"]), *(_age(r[age]) for age in ages)) for r in found["kinds"]]
    print_table(("kind", "number", "size", "last used", "oldest"), rows)
    print(f"{_size(found['bytes'])} in {found['folder']}")
    if found["removed"]["number"]:
        print(f"removed: {found['removed']['number']}, {_size(found['removed']['bytes'])}")


def _size(count: int) -> str:
    unit, name = next(((unit, name) for unit, name in UNITS if count >= unit), (1, "B"))
    return f"{count / unit:.3g} {name}" if unit > 1 else f"{count} B"


def _age(seconds: int) -> str:
    unit, name = next(((unit, name) for unit, name in TIMES if seconds >= unit), (1, "s"))
    return f"{seconds // unit} {name}"
