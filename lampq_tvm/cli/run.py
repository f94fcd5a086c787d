"""`lampq run`: logits of images in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def run(
    artifact: o.Artifact,
    input: Annotated[Path, typer.Option(help=".npy, float32 [N,C,H,W], already normalized.")],
    output: Annotated[Path, typer.Option(help=".npy for the logits, float32 [N,classes].")],
    device: o.Device = None,
    key_file: o.KeyFile = None,
    repeat: Annotated[int, typer.Option(help="Run exactly so many times, without a hidden warm-up.")] = 1,
    threads: o.Threads = None,
) -> None:
    """Run an artifact on images."""
    o.use_key_file(key_file)
    from lampq_tvm.api.running import run as run_artifact

    logits = run_artifact(artifact, input=input, output=output, device=device, repeat=repeat, threads=threads)
    print(f"{output}: logits {list(logits.shape)}")
