"""`lampq eval`: accuracy on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def eval(
    artifact: o.Artifact,
    data: Annotated[Path, typer.Option(help="Folder of class folders, or .npz with images and labels.")],
    device: o.Device = None,
    key_file: o.KeyFile = None,
    threads: o.Threads = None,
    images: Annotated[int | None, typer.Option(help="How many images are drawn; all where left out.")] = None,
    no_fp32: Annotated[bool, typer.Option("--no-fp32", help="Leave out the float model.")] = False,
    json: o.Json = False,
) -> None:
    """Accuracy of an artifact, beside the float model's where that is still in the cache."""
    o.use_key_file(key_file)
    from lampq_tvm.api.running import eval as evaluate
    from lampq_tvm.cli.output import print_json, print_table

    found = evaluate(artifact, data=data, device=device, threads=threads, images=images, fp32=not no_fp32)
    if json:
        print_json(found)
    else:
        print_table(("figure", "value"), [(k, v if k == "n" or v is None else f"{100 * v:.2f} %") for k, v in found.items()])
