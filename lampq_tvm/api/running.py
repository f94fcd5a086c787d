"""`load`, `run`, `bench`: what one does with an artifact; only the runtime is needed."""

from __future__ import annotations

import importlib.util
import io
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lampq_tvm.api.checks import check_output, read_input, require_file
from lampq_tvm.api.groups import check_device
from lampq_tvm.api.kept import noted_folder
from lampq_tvm.api.option import taking
from lampq_tvm.api.requests import BenchRequest, RunRequest
from lampq_tvm.api.values import MOST_THREADS, check_range
from lampq_tvm.artifact.container import Artifact, read_artifact
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import CorruptError, UnsupportedError, UsageError
from lampq_tvm.network.model import ImportedModel, InputSpec
from lampq_tvm.progress import note
from lampq_tvm.store import write_atomic
from lampq_tvm.targets import resolve_target

if TYPE_CHECKING:
    from lampq_tvm.device.kind import Device
    from lampq_tvm.device.times import Timing
    from lampq_tvm.runtime.runner import Runner


def load(artifact: str | Path, device: str | None = None, threads: int | None = None) -> Runner:
    """Load an artifact for running.

    Args:
        artifact: the `.lampq` file.
        device: as `lampq device list` says; this machine where None.
        threads: cores to use; all of the machine's where None.

    Returns:
        A callable: images float32 [N, C, H, W] normalized, or uint8 [N, C, H, W], to logits float32 [N, classes]. Threads may
        share it (their calls take turns, each on all of its cores), and a forked child may go on with it (not on a board or a
        GPU). `close()` gives everything back.

    Raises:
        CorruptError: a byte of the file was changed.
        UnsupportedError: it is for another target.
        DeviceError: the device cannot be reached.
    """
    check_device(device)
    check_range("--threads", threads, 1, MOST_THREADS)
    from lampq_tvm.runtime.runner import load as load_runner

    return load_runner(require_file(artifact, "the artifact"), device, threads)


@taking(RunRequest)
def run(request: RunRequest) -> np.ndarray | dict[str, np.ndarray]:
    """Run an artifact on images of an `.npy` file, exactly `repeat` times, without a hidden warm-up.

    Returns:
        The last run's output; of several `output_0`, `output_1`, ... They are what the output file holds (`.npz` of several).
    """
    opened = read_artifact(request.artifact)
    spec, several = input_spec(opened), len(opened.manifest.get("outputs", ()))
    images = read_input(request.input, (spec.channels, spec.height, spec.width))
    if several > 1 and request.output.suffix != ".npz":
        raise UsageError(f"the model has {several} outputs", where=str(request.output), hint="give a .npz as --output")
    check_output(request.output)
    runner = load(request.artifact, request.device, request.threads)
    for _ in range(request.repeat):
        found = runner(images)
    file = io.BytesIO()
    if isinstance(found, np.ndarray):
        np.save(file, found)
        write_atomic(request.output, file.getvalue())
        return found
    named = {f"output_{i}": array for i, array in enumerate(found)}
    np.savez(file, **named)  # type: ignore[arg-type]
    write_atomic(request.output, file.getvalue())
    return named


@taking(BenchRequest)
def bench(request: BenchRequest) -> dict[str, Any]:
    """Time of one run of an artifact at its own batch, after a warm-up. An emulated board's instructions are counted once.

    Returns:
        `median_ms`, `p95_ms`, `n` (samples), `kind` (`measured`; `estimated` for a board that is played), `device`,
        `peak_rss_bytes` of this process (None where the artifact runs elsewhere), and `clocks` where they can be read. On a
        GPU the times are the kernels' alone, `device` is its name, `clocks` may be None, and `end_to_end_median_ms` and
        `end_to_end_p95_ms` (copies included) are added.
    """
    artifact, repeat, place = request.artifact, request.repeat, find_device(request.device)
    if place.times.counted:
        return {**counted_time(read_artifact(artifact)).model_dump(), "device": place.name, "peak_rss_bytes": None}
    with load(artifact, request.device, request.threads) as runner:
        found, clocks = place.times.of(runner.bench(repeat)), runner.clocks()
        extra = cpu_figures(place, clocks) if runner.gpu is None else gpu_figures(runner, repeat, clocks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if place.here else None
    return {**found.model_dump(), **extra, "peak_rss_bytes": peak}


def cpu_figures(device: Device, clocks: dict[str, Any] | None) -> dict[str, Any]:
    """A device's name, and its clocks where they can be read."""
    return {"device": device.name} if clocks is None else {"device": device.name, "clocks": clocks}


def gpu_figures(runner: Runner, repeat: int, clocks: dict[str, Any] | None) -> dict[str, Any]:
    """A GPU's name, its clocks right after a load, and times of whole calls."""
    whole = runner.device.times.of(runner.bench_end_to_end(repeat))
    name = None if runner.gpu is None else runner.gpu.name
    ends = {"end_to_end_median_ms": whole.median_ms, "end_to_end_p95_ms": whole.p95_ms}
    return {"device": name, "clocks": clocks, **ends}


def counted_time(artifact: Artifact) -> Timing:
    """Estimated milliseconds of one run, from the instructions of one core of the artifact's board under emulation."""
    from lampq_tvm.device.count import counting_session
    from lampq_tvm.latency.bench import estimated_ms
    from lampq_tvm.runtime.machine import Machine
    from lampq_tvm.runtime.params import artifact_params

    target, spec = resolve_target(artifact.manifest["target"]), input_spec(artifact)
    if target.board is None:
        hint = "use --device local, or compile for a board"
        raise UnsupportedError("only boards are emulated", where=target.name, hint=hint)
    params = artifact_params(artifact)
    image = np.full((artifact.manifest["batch"], spec.channels, spec.height, spec.width), 128, np.uint8)
    with counting_session(target) as session:
        count, cycles = Machine(artifact.sections["lib.so"], params, session).cycles(image)
    estimate = "" if cycles is None else f", an estimated {cycles / 1e6:.2f} million cycles"
    note(f"{count / 1e6:.2f} million instructions{estimate} on one core of {target.name}")
    return estimated_ms(count, cycles, target)


def input_spec(artifact: Artifact) -> InputSpec:
    """The image that an artifact takes."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in artifact.manifest["input"].items()}
    return InputSpec(**fields)


def class_count(artifact: Artifact) -> int | None:
    """Number of classes; None where random weights make labels mean nothing."""
    return int(artifact.manifest["values"][-1]["shape"][-1]) if artifact.manifest["weights"] == "trained" else None


def cached_model(artifact: Artifact) -> ImportedModel | None:
    """The float model an artifact was made from, where it is still in the cache and torch is installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    try:
        folder = noted_folder("float-models", artifact.manifest.get("float_model"))
        return None if folder is None or not (folder / "model.st").exists() else ImportedModel.load(folder / "model.st")
    except (CorruptError, OSError, ValueError) as e:
        what = str(e).splitlines()[0]
        note(f"the float model in the cache is damaged ({what}), so it is not run beside; the next compile makes it again")
        return None


def float_logits(model: ImportedModel, pixels: np.ndarray) -> np.ndarray:
    """Logits float32 [B, classes] of the float model for images uint8 [B, C, H, W]."""
    import torch

    from lampq_tvm.network.execute import normalize, run_float

    with torch.inference_mode():
        logits: np.ndarray = run_float(model, normalize(pixels, model.input)).numpy()
    return logits
