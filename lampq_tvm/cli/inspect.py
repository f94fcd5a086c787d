"""`lampq inspect`: what is in an artifact."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lampq_tvm.cli import options as o


def inspect(
    artifact: o.Artifact,
    asm: Annotated[bool, typer.Option("--asm", help="Print the kernels as assembly.")] = False,
    json: o.Json = False,
) -> None:
    """Layers, widths and sizes of an artifact."""
    from lampq_tvm.api.looking import assembly
    from lampq_tvm.api.looking import inspect as look

    found = look(artifact)
    if asm:
        print(assembly(artifact))
    show(found, json)


def show(found: dict[str, Any], json: bool) -> None:
    """Print what `api.inspect` returned."""
    from lampq_tvm.cli.output import print_json, print_table
    from lampq_tvm.frontend.preprocessing import input_rows
    from lampq_tvm.network.model import InputSpec

    if json:
        print_json(found)
        return
    layers = [[row[k] for k in ("name", "type", "w_bits", "a_bits", "params")] for row in found["layers"]]
    print_table(("layer", "type", "w", "a", "params"), layers)
    print()
    figures = {k: v for k, v in found.items() if k not in ("layers", "input")} | input_rows(InputSpec(**found["input"]))
    figures["batches"] = " ".join(map(str, found["batches"]))
    print_table(("figure", "value"), list(figures.items()))
