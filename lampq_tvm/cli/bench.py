"""`lampq bench`: time of one run."""

from __future__ import annotations

from lampq_tvm.api.requests import BenchRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def bench(request: BenchRequest, form: Form) -> None:
    """Time an artifact; says whether the time was measured or estimated."""
    from lampq_tvm.api.running import bench as measure
    from lampq_tvm.cli.output import print_json, print_table

    found = measure(**vars(request))
    if form.json:
        print_json(found)
    else:
        print_table(("figure", "value"), list(found.items()))
