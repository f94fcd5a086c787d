"""`lampq run`: outputs for images in a file."""

from __future__ import annotations

from lampq_tvm.api.requests import RunRequest
from lampq_tvm.cli.command import command

LOGITS = 2  # axes of one vector an image


@command
def run(request: RunRequest) -> None:
    """Run an artifact on images."""
    from lampq_tvm.api.running import run as run_artifact

    found = run_artifact(**vars(request))
    named = found if isinstance(found, dict) else {"logits" if found.ndim == LOGITS else "output": found}
    print(f"{request.output}: {', '.join(f'{name} {list(array.shape)}' for name, array in named.items())}")
