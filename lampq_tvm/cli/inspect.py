"""`lampq inspect`: what is in an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from lampq_tvm.api.option import Option
from lampq_tvm.api.requests import InspectRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form

if TYPE_CHECKING:
    from lampq_tvm.api.looking import Inspection


@dataclass(frozen=True, kw_only=True)
class Listing(Form):
    """What is printed of an artifact.

    Attributes:
        asm: its kernels too.
    """

    asm: Annotated[bool, Option("Print the kernels as assembly.")] = False


@command
def inspect(request: InspectRequest, form: Listing) -> None:
    """Layers, widths and sizes of an artifact."""
    from lampq_tvm.api.looking import assembly
    from lampq_tvm.api.looking import inspect as look

    found = look(**vars(request))
    if form.asm:
        print(assembly(request.artifact))
    show(found, form.json)


def show(found: Inspection, json: bool) -> None:
    """Print what `api.inspect` returned."""
    from lampq_tvm.cli.output import print_json, print_table, show_parts
    from lampq_tvm.frontend.preprocessing import input_rows
    from lampq_tvm.network.model import InputSpec

    if json:
        print_json(found)
        return
    layers = [(row["name"], row["type"], row["w_bits"], row["a_bits"], row["params"]) for row in found["layers"]]
    print_table(("layer", "type", "w", "a", "params"), layers)
    show_parts(found["parts"], found["macs"] or 0)
    print()
    figures = {k: v for k, v in found.items() if k not in ("layers", "parts", "input") and v is not None}
    figures |= input_rows(InputSpec(**found["input"]))
    figures["batches"] = " ".join(map(str, found["batches"]))
    print_table(("figure", "value"), list(figures.items()))
