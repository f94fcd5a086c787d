"""`lampq targets`: the boards that can be compiled for."""

from __future__ import annotations

from collections.abc import Mapping

from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def targets(form: Form) -> None:
    """List the targets. A board with a GPU means its GPU; NAME:cpu its Arm cores."""
    from lampq_tvm.api.looking import targets as list_targets
    from lampq_tvm.cli.output import print_json, print_table

    rows = list_targets()
    if form.json:
        print_json({"targets": rows})
    else:
        print_table(("target", "isa", "cores", "cuda", "levels", "description"), [_cells(row) for row in rows])


def _cells(row: Mapping[str, object]) -> list[object]:
    """A row's cells, CUDA levels beside each other."""
    return [" ".join(value) or None if isinstance(value, list) else value for value in row.values()]
