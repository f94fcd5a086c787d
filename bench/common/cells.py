"""A table whose results file is also its memory: each row holds a digest of what it came from.

A row is made again only where that changed, on this machine or another one; rows that a run does not ask for stay. The file is
written after each row, so a run that is killed loses the row in flight.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common.run import machine
from lampq_tvm.cli.output import print_table
from lampq_tvm.store import digest, write_atomic

Row = dict[str, Any]


class Cells:
    """The rows of a results file.

    Args:
        output: the file.
        names: of the values that tell a row from the others.
        facts: of the whole file.
    """

    def __init__(self, output: Path, names: tuple[str, ...], **facts: Any) -> None:
        self.output, self.names = output, names
        self.facts = {"machine": machine(), **facts}
        kept = json.loads(output.read_text())["rows"] if output.exists() else []
        self.rows: dict[tuple[Any, ...], Row] = {self._place(row): row for row in kept if "key" in row}

    def _place(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.names)

    def get(self, cell: Row, depends: object, compute: Callable[[], Row]) -> Row:
        """The row of a cell: as the file has it where it came from the same, else computed, and kept.

        Args:
            cell: a value for each of the names.
            depends: all that the row comes from.
        """
        key = digest(depends)[:12]
        place = self._place(cell)
        if self.rows.get(place, {}).get("key") != key:
            self.rows[place] = {**cell, **compute(), "key": key}
            self.write()
        return self.rows[place]

    def write(self) -> None:
        """The file."""
        write_atomic(self.output, (json.dumps({**self.facts, "rows": list(self.rows.values())}, indent=1) + "\n").encode())

    def show(self, columns: Sequence[str]) -> None:
        """The table."""
        print_table(columns, [[row.get(c) for c in columns] for row in self.rows.values()])
