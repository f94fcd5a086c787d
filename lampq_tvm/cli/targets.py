"""`lampq targets`: the boards that can be compiled for."""

from __future__ import annotations

from lampq_tvm.cli import options as o


def targets(json: o.Json = False) -> None:
    """List the targets. A board with a GPU means its GPU; NAME:cpu its Arm cores."""
    from lampq_tvm.api.looking import targets as list_targets
    from lampq_tvm.cli.output import print_json, print_table

    rows = list_targets()
    if json:
        print_json({"targets": rows})
    else:
        print_table(("target", "isa", "cores", "cuda", "description"), [list(row.values()) for row in rows])
