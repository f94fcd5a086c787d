"""`compile`: a trained model and a board's name become one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lampq_tvm.api.caching import at_work
from lampq_tvm.api.checks import runs_here
from lampq_tvm.api.dumping import Dump, dump_pipeline
from lampq_tvm.api.kept import keep_note
from lampq_tvm.api.latencies import database, tuned_records
from lampq_tvm.api.measuring import tune_pipeline
from lampq_tvm.api.option import taking
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.api.requests import CompileRequest
from lampq_tvm.artifact.container import Artifact, pack, read_artifact, unpack, write_artifact
from lampq_tvm.compiler.toolchain import toolchain
from lampq_tvm.device.kinds import HERE, find_device
from lampq_tvm.errors import GateError
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.progress import note
from lampq_tvm.records.held import held_records
from lampq_tvm.spread import spread

if TYPE_CHECKING:
    from lampq_tvm.quantize.model import QuantizedModel
    from lampq_tvm.runtime.runner import Runner

GATE_IMAGES = 2
CHECKED = "checked.lampq"
# Share of the logits' spread (root mean square) by which a plan with float layers may miss the reference. Sums of float16
# products come in another order there, which turns single roundings to float16 (2^-11) and, behind them, single codes: some
# 1e-3 in small networks.
CLOSE = 0.02


@taking(CompileRequest)
def compile(request: CompileRequest) -> Path:
    """Compile a model into an artifact.

    Returns:
        The file that was written.

    Raises:
        LampqError: what is wrong; nothing was written then.
    """
    return compile_pipeline(Pipeline(request, request.plan), request.output, request.debug_dump)


@at_work()
def compile_pipeline(pipeline: Pipeline, output: Path, debug_dump: Path | None = None) -> Path:
    """Check the request, build, compare with the reference, write."""
    pipeline.check(output)
    pipeline.check_floats()
    dump = None if debug_dump is None else Dump(debug_dump)
    if pipeline.model.weights == "random":
        note("warning: the weights are random, so accuracy means nothing; give --checkpoint or --pretrained")
    if dump is not None:
        dump_pipeline(pipeline, dump)
    built = build(pipeline)
    write_artifact(output, built.sections, built.described)
    return output


def build(pipeline: Pipeline) -> Artifact:
    """The compiled and checked artifact of a request, from the cache where it can be."""
    o, target = pipeline.options, pipeline.target
    if o.trials:
        tune_pipeline(pipeline)
    compiler = _cuda_compiler(pipeline) if target.kind == "cuda" else _cpu_compiler(pipeline)
    key = (target.identity, o.batch, compiler.records, toolchain(target), checking_device(pipeline))
    folder = pipeline.cache.folder("build", pipeline.quantized_folder.name, *key, gpu=target.kind == "cuda")

    def compute() -> Artifact:
        sections, manifest, ptx = compiler.compile()
        facts = {"float_model": pipeline.model_digest, **stays_float(pipeline.model, pipeline.quantized)}
        artifact = unpack(pack(sections, {**manifest, **facts}), target.name)
        gate(pipeline, artifact, ptx)
        return artifact

    found = pipeline.cache.get(folder, CHECKED, lambda path: read_artifact(path / CHECKED), compute, _save)
    remember(pipeline, found)
    return found


@dataclass(frozen=True)
class _Compiler:
    """How a request is compiled.

    Attributes:
        records: digest of the tuning records that it takes.
        compile: makes sections, manifest and the PTX of each binary.
    """

    records: str
    compile: Callable[[], tuple[dict[str, bytes], dict[str, Any], dict[bytes, str]]]


def _cpu_compiler(pipeline: Pipeline) -> _Compiler:
    target, records = pipeline.target, tuned_records()

    def compile() -> tuple[dict[str, bytes], dict[str, Any], dict[bytes, str]]:
        from lampq_tvm.compiler.build import build as compile_quantized

        return (*compile_quantized(pipeline.quantized, target, batch=pipeline.options.batch, tiles=records), {})

    return _Compiler(records.digest(target.isa), compile)


def _cuda_compiler(pipeline: Pipeline) -> _Compiler:
    target, held = pipeline.target, held_records(database(), pipeline.target.isa)

    def compile() -> tuple[dict[str, bytes], dict[str, Any], dict[bytes, str]]:
        from lampq_tvm.compiler.cuda.build import build_cuda
        from lampq_tvm.records.cuda import CudaRecords

        records = CudaRecords(target.isa, held=held)
        made = build_cuda(pipeline.quantized, target, batch=pipeline.options.batch, records=records)
        return made.sections, made.manifest, made.ptx

    return _Compiler(held.digest(), compile)


def _save(folder: Path, artifact: Artifact) -> None:
    write_artifact(folder / CHECKED, artifact.sections, artifact.described)


def remember(pipeline: Pipeline, artifact: Artifact) -> None:
    """Notes in the cache that say where float model and calibration lie, for `eval` and `debug`."""
    root = pipeline.cache.root
    keep_note(root, "float-models", pipeline.model_digest, pipeline.import_folder)
    keep_note(root, "calibrations", artifact.payload_digest, pipeline.network_calibration)


def checking_device(pipeline: Pipeline) -> str | None:
    """What the artifact runs on to be checked; None where nothing at hand runs it."""
    return pipeline.options.device or (HERE if runs_here(pipeline.target) else None)


def stays_float(model: ImportedModel, quantized: QuantizedModel) -> dict[str, Any]:
    """What an artifact says of its float parts, products that codes would lose too much of among them; nothing without any."""
    from lampq_tvm.network.macs import float_parts, total_macs
    from lampq_tvm.quantize.operators.float_part import QFloatPart

    parts = float_parts(model, {op.name for op in quantized.ops if isinstance(op, QFloatPart)})
    rows = [{"name": part.name, "operators": part.operators, "macs": part.macs} for part in parts]
    return {"parts": rows, "macs": total_macs(model, parts)} if parts else {}


def gate(pipeline: Pipeline, artifact: Artifact, ptx: Mapping[bytes, str]) -> None:
    """Compare the artifact's logits with the reference's, where there is a machine that runs it.

    Of a network with float parts each operator is compared on the artifact's own inputs.

    A CUDA artifact runs on this machine's GPU where it is of its architecture, else on the interpreter of its PTX.

    Raises:
        GateError: a bit differs; in a plan with float layers they are not close, or a float part is not.
    """
    device = checking_device(pipeline)
    if device is None and not ptx:
        note(f"not run: this machine is no {pipeline.target.name}; --device checks the artifact on one")
        return
    from lampq_tvm.quantize.compare import differences, has_parts
    from lampq_tvm.quantize.reference import run_reference

    images, _ = next(pipeline.calib_data.batches(GATE_IMAGES if device else 1))
    quantized = pipeline.quantized
    place, report = f"{pipeline.target.name} on {device}", "please report this"
    if has_parts(quantized):
        with _runner(pipeline, artifact, device, ptx) as runner:
            values = runner.trace(images)
            wrong = next(differences(quantized, images, values), None)
            together = np.concatenate([values[name].reshape(len(images), -1) for name in runner.outputs], 1)
            if wrong is None and not np.array_equal(runner.one(images).reshape(len(images), -1), together, equal_nan=True):
                wrong = "its outputs are not those of its operators one by one"
        if wrong is not None:
            raise GateError(wrong, where=place, hint=report)
        return
    one_by_one = spread(lambda image: run_reference(quantized, image[None]), images, pipeline.options.jobs)
    expected = np.concatenate(list(one_by_one))
    with _runner(pipeline, artifact, device, ptx) as runner:
        got = runner.one(images)
    what = difference(expected, got, bool(pipeline.plan.floats))
    if what is not None:
        raise GateError(what, where=place, hint=report)


def _runner(pipeline: Pipeline, artifact: Artifact, device: str | None, ptx: Mapping[bytes, str]) -> Runner:
    from lampq_tvm.runtime.runner import Runner

    if ptx and (device is None or find_device(device).times.counted):
        from lampq_tvm.ptx.driver import PtxDriver

        return Runner(artifact, gpu=PtxDriver(ptx, pipeline.target.isa))
    return Runner(artifact, device, pipeline.options.threads)


def difference(expected: np.ndarray, got: np.ndarray, close: bool) -> str | None:
    """What is wrong with logits [B, classes]: a bit, or, where close ones will do, more than `CLOSE`; None where nothing is."""
    if not close:
        differ = int((expected != got).sum())
        return f"{differ} of {got.size} outputs differ from the reference" if differ else None
    away = float(np.linalg.norm(got - expected) / max(float(np.linalg.norm(expected - expected.mean())), 1e-30))
    return None if away <= CLOSE else f"outputs lie {away:.2%} of their spread away from the reference, more than {CLOSE:.0%}"
