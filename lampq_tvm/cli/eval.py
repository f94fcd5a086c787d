"""`lampq eval`: accuracy on labelled images."""

from __future__ import annotations

from lampq_tvm.api.requests import EvalRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def eval(request: EvalRequest, form: Form) -> None:
    """Accuracy of an artifact, beside the float model's where that is still in the cache."""
    from lampq_tvm.api.evaluating import eval as evaluate
    from lampq_tvm.cli.output import print_json, print_table

    found = evaluate(**vars(request))
    if form.json:
        print_json(found)
    else:
        print_table(("figure", "value"), [(k, v if k == "n" or v is None else f"{100 * v:.2f} %") for k, v in found.items()])
