"""`lampq bench`: time of one run."""

from __future__ import annotations

from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def bench(
    artifact: o.Artifact,
    device: o.Device = None,
    key_file: o.KeyFile = None,
    threads: o.Threads = None,
    repeat: Annotated[int, typer.Option(help="How many runs are timed.")] = 50,
    json: o.Json = False,
) -> None:
    """Time an artifact; says whether the time was measured or estimated."""
    o.use_key_file(key_file)
    from lampq_tvm.api.running import bench as measure
    from lampq_tvm.cli.output import print_json, print_table

    found = measure(artifact, device=device, threads=threads, repeat=repeat)
    if json:
        print_json(found)
    else:
        print_table(("figure", "value"), list(found.items()))
