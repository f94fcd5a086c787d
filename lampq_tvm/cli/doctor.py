"""`lampq doctor`: what works here, and what would be refused."""

from __future__ import annotations

from lampq_tvm.api.requests import DoctorRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def doctor(request: DoctorRequest, form: Form) -> None:
    """Check the installation, and say beforehand whether MODEL would be refused."""
    from lampq_tvm.api.health import doctor as examine
    from lampq_tvm.cli.output import print_json, print_table, show_parts
    from lampq_tvm.errors import UnsupportedError

    found = examine(**vars(request))
    if form.json:
        print_json(found)
    else:
        print_table(("check", "", "found"), [(c["name"], "ok" if c["ok"] else "missing", c["text"]) for c in found["checks"]])
    if request.model is None:
        return
    if not form.json:
        print()
        print_table(("layer", "type", "shape", "params", "macs"), [list(row.values()) for row in found["layers"]])
        show_parts(found["parts"], 1e9 * found["gmacs"])
        print(f"{found['parameters']} parameters, {found['gmacs']:.3g} GMAC, {found['weights']} weights")
    if found["refused"]:
        raise UnsupportedError(f"would be refused: {', '.join(found['refused'])}", where=request.model)
