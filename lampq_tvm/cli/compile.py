"""`lampq compile`: a trained model and a board's name become one file."""

from __future__ import annotations

from lampq_tvm.api.requests import CompileRequest
from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def compile(request: CompileRequest, form: Form) -> None:
    """Compile MODEL for a board within a budget."""
    from lampq_tvm.api.compiling import compile_pipeline
    from lampq_tvm.api.looking import inspect
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.cli.inspect import show
    from lampq_tvm.cli.output import show_options

    pipeline = Pipeline(request, request.plan)
    show_options("compile", pipeline.shown())
    compile_pipeline(pipeline, request.output, request.debug_dump)
    show(inspect(request.output), form.json)
