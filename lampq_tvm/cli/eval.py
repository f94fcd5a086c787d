"""`lampq eval`: accuracy on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def eval(
    artifact: o.Artifact,
    data: Annotated[Path, typer.Option(help="Folder of class folders or of images, or .npz with images (and labels).")],
    class_order: o.ClassOrder = None,
    class_map: o.ClassMap = None,
    skip_broken: o.SkipBroken = False,
    device: o.Device = None,
    key_file: o.KeyFile = None,
    threads: o.Threads = None,
    images: Annotated[int | None, typer.Option(help="How many images are drawn; all where left out.")] = None,
    jobs: o.Jobs = None,
    no_fp32: Annotated[bool, typer.Option("--no-fp32", help="Leave out the float model.")] = False,
    json: o.Json = False,
) -> None:
    """Accuracy of an artifact, beside the float model's where that is still in the cache."""
    o.use_key_file(key_file)
    arguments = {k: v for k, v in locals().items() if k not in ("artifact", "key_file", "no_fp32", "json")}
    from lampq_tvm.api.evaluating import eval as evaluate
    from lampq_tvm.cli.output import print_json, print_table

    found = evaluate(artifact, fp32=not no_fp32, **arguments)
    if json:
        print_json(found)
    else:
        print_table(("figure", "value"), [(k, v if k == "n" or v is None else f"{100 * v:.2f} %") for k, v in found.items()])
