"""`lampq doctor`: what works here, and what would be refused."""

from __future__ import annotations

from typing import Annotated

import typer

from lampq_tvm.cli import options as o


def doctor(
    model: Annotated[str | None, typer.Argument(help="A timm name, a .pt2 or an .onnx.")] = None,
    checkpoint: o.Checkpoint = None,
    pretrained: o.Pretrained = False,
    model_arg: o.ModelArg = None,
    trust_model: o.TrustModel = False,
    mean: o.Mean = None,
    std: o.Std = None,
    size: o.Size = None,
    json: o.Json = False,
) -> None:
    """Check the installation, and say beforehand whether MODEL would be refused."""
    from lampq_tvm.api.health import doctor as examine
    from lampq_tvm.api.options import parse_floats, parse_model_args
    from lampq_tvm.cli.output import print_json, print_table
    from lampq_tvm.errors import UnsupportedError

    found = examine(
        model,
        checkpoint=checkpoint,
        pretrained=pretrained,
        model_args=parse_model_args(model_arg or []),
        trust_model=trust_model,
        mean=parse_floats(mean, "--mean"),
        std=parse_floats(std, "--std"),
        size=size,
    )
    if json:
        print_json(found)
    else:
        print_table(("check", "", "found"), [(c["name"], "ok" if c["ok"] else "missing", c["text"]) for c in found["checks"]])
    if model is None:
        return
    if not json:
        print()
        print_table(("layer", "type", "shape", "params", "macs"), [list(row.values()) for row in found["layers"]])
        print(f"{found['parameters']} parameters, {found['gmacs']:.3g} GMAC, {found['weights']} weights")
    if found["refused"]:
        raise UnsupportedError(f"would be refused: {', '.join(found['refused'])}", where=model)
