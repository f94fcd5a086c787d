"""A table whose results file is also its memory: each row holds a digest of what it came from.

A row is made again only where that changed, on this machine or another one; rows that a run does not ask for stay. The file is
written after each row, so a run that is killed loses the row in flight; runs beside each other keep each other's rows.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common.run import machine
from lampq_tvm.cli.output import print_table
from lampq_tvm.locks import locked
from lampq_tvm.store import digest, write_atomic

Row = dict[str, Any]


class Cells:
    """The rows of a results file, by the values that tell one from the others; in the order in which they were first made.

    Args:
        output: the file.
        names: of those values.
        facts: of the whole file; the machine that made a row is in the row.
    """

    def __init__(self, output: Path, names: tuple[str, ...], **facts: Any) -> None:
        self.output, self.names, self.facts = output, names, facts
        self.here = digest(machine()["cpu"], machine()["versions"])[:8]
        self.machines: dict[str, Any] = {}
        self.rows: dict[tuple[Any, ...], Row] = {}
        self._read()

    def _place(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in self.names)

    def _read(self) -> None:
        """What the file holds by now."""
        if self.output.exists():
            found = json.loads(self.output.read_text("utf-8"))
            self.rows = {self._place(row): row for row in found["rows"]}
            self.machines = found.get("machines", {})
            self.facts = {k: v for k, v in found.items() if k not in ("rows", "machines")} | self.facts

    def get(self, cell: Row, depends: object, compute: Callable[[], Row]) -> Row:
        """The row of a cell: as the file has it where it came from the same, else computed, and kept.

        Args:
            cell: a value for each of the names.
            depends: all that the row comes from.
        """
        key, place = digest(depends)[:12], self._place(cell)
        if self.rows.get(place, {}).get("key") != key:
            made = {**cell, **compute(), "key": key, "machine": self.here}
            with locked(Path(tempfile.gettempdir()) / f"{digest(str(self.output.resolve()))[:16]}.lock", "a results file"):
                self._read()
                self.rows[place], self.machines[self.here] = made, machine()
                self._write()
        return self.rows[place]

    def _write(self) -> None:
        used = {row.get("machine") for row in self.rows.values()}
        machines = {name: facts for name, facts in self.machines.items() if name in used}
        written = {**self.facts, "machines": machines, "rows": list(self.rows.values())}
        write_atomic(self.output, (json.dumps(written, indent=1) + "\n").encode())

    def show(self, columns: Sequence[str]) -> None:
        """The table."""
        print_table(columns, [[row.get(c) for c in columns] for row in self.rows.values()])
