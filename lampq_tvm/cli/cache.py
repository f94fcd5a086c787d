"""`lampq cache`: what lies in the cache, and making it smaller."""

from __future__ import annotations

from lampq_tvm.api.requests import CacheRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
TIMES = ((86400, "d"), (3600, "h"), (60, "min"))


@command
def cache(request: CacheRequest, form: Form) -> None:
    """Show the cache, limit its size, remove what is old. Tuning records are never removed."""
    from lampq_tvm.api.caching import cache as look
    from lampq_tvm.cli.output import print_json, print_table

    found = look(**vars(request))
    if form.json:
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
