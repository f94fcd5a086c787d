"""`lampq report`: comes later."""

from __future__ import annotations

from lampq_tvm.cli import options as o


def report(artifact: o.Artifact) -> None:
    """Not there yet."""
    from lampq_tvm.errors import UnsupportedError

    raise UnsupportedError("report is not there yet", where=str(artifact), hint="lampq inspect and lampq eval give the figures")
