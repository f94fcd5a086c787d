"""`lampq run`: logits of images in a file."""

from __future__ import annotations

from lampq_tvm.api.requests import RunRequest
from lampq_tvm.cli.command import command


@command
def run(request: RunRequest) -> None:
    """Run an artifact on images."""
    from lampq_tvm.api.running import run as run_artifact

    logits = run_artifact(**vars(request))
    print(f"{request.output}: logits {list(logits.shape)}")
