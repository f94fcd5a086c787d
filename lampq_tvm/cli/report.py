"""`lampq report`: comes later."""

from __future__ import annotations

from lampq_tvm.api.requests import ArtifactOptions
from lampq_tvm.cli.command import command


@command
def report(request: ArtifactOptions) -> None:
    """Not there yet."""
    from lampq_tvm.errors import UnsupportedError

    where, hint = str(request.artifact), "lampq inspect and lampq eval give the figures"
    raise UnsupportedError("report is not there yet", where=where, hint=hint)
