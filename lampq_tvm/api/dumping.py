"""`--debug-dump`: the network after each stage and each pass, one readable file each, numbered in their order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampq_tvm.api.latencies import database, tuned_records
from lampq_tvm.errors import OutputError
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.network.show import operator_rows
from lampq_tvm.progress import note
from lampq_tvm.store import write_atomic

if TYPE_CHECKING:
    from lampq_tvm.api.pipeline import Pipeline
    from lampq_tvm.lower.cuda.context import CudaContext
    from lampq_tvm.lower.cuda.network import CudaLowered
    from lampq_tvm.lower.kernel import Call


class Dump:
    """Numbered files in a folder of their own.

    Raises:
        OutputError: the folder cannot be made, or holds something.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            filled = any(folder.iterdir())
        except OSError as e:
            raise OutputError(f"cannot write: {e.strerror or e}", where=str(folder)) from e
        if filled:
            raise OutputError("this folder is not empty", where=str(folder), hint="name a new one for --debug-dump")

    def rows(self, name: str, rows: Iterable[Mapping[str, Any]], **head: Any) -> None:
        """A JSON file: `head`, then `rows`, each on a line of its own."""
        body = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        start = json.dumps({"after": name, **head}, indent=1).removesuffix("\n}")
        self.text(name, f'{start},\n "rows": [\n{body}\n ]\n}}\n', "json")

    def text(self, name: str, text: str, suffix: str = "txt") -> None:
        """A file of text."""
        write_atomic(self.folder / f"{self.count:02}-{name}.{suffix}", text.encode())
        self.count += 1


def dump_pipeline(pipeline: Pipeline, dump: Dump) -> None:
    """Every stage of a request, taken from the cache where it lies there, and every pass of its lowering, made anew."""
    _float(dump, "import", pipeline.model)
    _float(dump, "calibrate", pipeline.plan_calibration.model)
    plan = pipeline.plan.model_dump()
    dump.rows("plan", plan.pop("layers"), **plan)
    from lampq_tvm.network.shapes import infer_shapes

    qm = pipeline.quantized
    shapes = infer_shapes(qm.ops, qm.input, qm.tensors)
    dump.rows("quantize", operator_rows(qm.ops, shapes, qm.tensors), outputs=qm.outputs)
    if pipeline.target.kind == "cuda":
        _cuda(pipeline, dump)
    else:
        _cpu(pipeline, dump)
    note(f"{dump.count} files in {dump.folder} show the network after each stage and pass")


def _float(dump: Dump, name: str, model: ImportedModel) -> None:
    layers = [dataclasses.asdict(layer) for layer in model.layers]
    dump.rows(name, operator_rows(model.ops, model.shapes, model.tensors), source=model.source, outputs=model.outputs)
    if name == "import":
        dump.rows("layers", layers)


def _cpu(pipeline: Pipeline, dump: Dump) -> None:
    """Kernel calls, the places of their values, and the Relax functions after each of the compiler's passes."""
    from lampq_tvm.compiler.build import pipeline as passes
    from lampq_tvm.lower.module import lower

    lowered = lower(pipeline.quantized, pipeline.target.isa, pipeline.options.batch, tuned_records())
    dump.rows("lower", [_call_row(call) for call in lowered.calls], arena_bytes=lowered.arena_bytes)
    module = lowered.module
    dump.text("relax", _relax_text(module))
    for each in passes().passes:
        module = each(module)
        dump.text(f"relax-{each.info.name}", _relax_text(module))


def _call_row(call: Call) -> dict[str, Any]:
    reads = [a if isinstance(a, str) else call.recipes[a] for a in call.order]
    written = {"value": call.value, "shape": call.shape, "dtype": call.dtype, "over": call.over}
    return {"kernel": call.kernel, **written, "reads": reads}


def _relax_text(module: Any) -> str:
    """The Relax functions of a module, without its kernels."""
    from tvm import relax

    found = [(var.name_hint, f) for var, f in module.functions.items() if isinstance(f, relax.Function)]
    return "\n".join(f"# {name}\n{function.script()}\n" for name, function in sorted(found))


def _cuda(pipeline: Pipeline, dump: Dump) -> None:
    """For each batch size the groups of operators after each pass, then the launches and their places."""
    from lampq_tvm.compiler.cuda.build import buckets
    from lampq_tvm.lower.cuda.network import lower_cuda
    from lampq_tvm.records.cuda import CudaRecords
    from lampq_tvm.records.held import held_records

    isa = pipeline.target.isa
    records = CudaRecords(isa, held=held_records(database(), isa))
    for size in buckets(pipeline.options.batch):

        def seen(name: str, context: CudaContext, size: int = size) -> None:
            dump.rows(f"batch{size}-{name}", _group_rows(context))

        lowered = lower_cuda(pipeline.quantized, isa, size, records, seen)
        dump.rows(f"batch{size}-lower", _launch_rows(lowered), arena_bytes=lowered.arena_bytes)


def _group_rows(context: CudaContext) -> list[dict[str, Any]]:
    """One row a kernel: its operator, and those that passes joined to it."""
    return [
        {
            "name": group.root.name,
            "op": type(group.root).__name__,
            "reads": group.root.inputs,
            "before": [f"{type(op).__name__} {op.name}" for op in group.before],
            "after": [f"{type(op).__name__} {op.name}" for op in group.after],
        }
        for group in context.groups
    ]


def _launch_rows(lowered: CudaLowered) -> list[dict[str, Any]]:
    return [
        {"kernel": launch.kernel, "reads": launch.reads, "constants": launch.params, "over": launch.over}
        | {"writes": {buffer: {**dataclasses.asdict(v), "offset": lowered.offsets[v.name]} for buffer, v in launch.outs}}
        for launch in lowered.launches
    ]
