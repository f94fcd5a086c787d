"""`inspect` and `targets`: look without making anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from lampq_tvm.api.option import taking
from lampq_tvm.api.requests import InspectRequest
from lampq_tvm.artifact.container import read_artifact
from lampq_tvm.artifact.launches import Value
from lampq_tvm.bitplan import IMAGE_TYPES
from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.levels import CPU_ARCHES
from lampq_tvm.memfile import memory_file, path_of


class LayerRow(TypedDict):
    """A layer; the products of attention have no parameters."""

    name: str
    type: str
    w_bits: int
    a_bits: int
    params: int


class PartRow(TypedDict):
    """A part that stays float: how often each of torch's operators occurs in it, multiply-adds for one image."""

    name: str
    operators: dict[str, int]
    macs: int


class Inspection(TypedDict):
    """What `inspect` returns, which says what each means."""

    layers: list[LayerRow]
    parts: list[PartRow]
    macs: int | None
    payload_bytes: int
    code_bytes: int
    size_bytes: int
    arena_bytes: int | None
    largest_activation_bytes: int | None
    avg_w_bits: float
    avg_a_bits: float
    target: str
    weights: str
    input: dict[str, Any]
    classes: int | None
    batches: list[int]


@taking(InspectRequest)
def inspect(request: InspectRequest) -> Inspection:
    """What is in an artifact.

    Returns:
        `layers` (name, type, w_bits, a_bits, params), `parts` that stay float (name, operators, macs) and `macs` of the whole
        network for one image (None where nothing stays float), `payload_bytes`,
        `code_bytes`, `size_bytes`, `arena_bytes` (working
        memory of one call) and `largest_activation_bytes` (both None in an artifact that does not say), `avg_w_bits`,
        `avg_a_bits`, `target`, `weights` (`trained` or `random`), `input` (`channels`, `height`, `width`, `mean` and `std` of
        pixels in 0..1, `interpolation`, `crop_pct`), `classes` (None without a classifier), `batches` (sizes compiled for).
    """
    opened = read_artifact(request.artifact)
    layers, values = opened.manifest["layers"], opened.manifest["values"]
    memory = working_memory(opened.manifest)
    return {
        "layers": layers,
        "parts": opened.manifest.get("parts", []),
        "macs": opened.manifest.get("macs"),
        "payload_bytes": len(opened.sections["payload.safetensors"]),
        "code_bytes": len(opened.sections["cubins" if opened.manifest["arch"] == "cuda" else "lib.so"]),
        "size_bytes": opened.size_bytes,
        "arena_bytes": memory["arena_bytes"],
        "largest_activation_bytes": memory["largest_activation_bytes"],
        "avg_w_bits": average(layers, "w_bits"),
        "avg_a_bits": average([row for row in layers if row["type"] not in IMAGE_TYPES], "a_bits"),
        "target": opened.manifest["target"],
        "weights": opened.manifest["weights"],
        "input": opened.manifest["input"],
        "classes": values[-1]["shape"][-1] if opened.manifest["has_classifier"] else None,
        "batches": batches(opened.manifest),
    }


def batches(manifest: Mapping[str, Any]) -> list[int]:
    """Batch sizes that an artifact holds code for, rising."""
    return [bucket["batch"] for bucket in manifest["cuda"]["buckets"]] if "cuda" in manifest else [manifest["batch"]]


def working_memory(manifest: Mapping[str, Any]) -> dict[str, int | None]:
    """`arena_bytes` and `largest_activation_bytes`; of a GPU's artifact at its largest batch size."""
    if "cuda" not in manifest:
        return {name: manifest.get(name) for name in ("arena_bytes", "largest_activation_bytes")}
    bucket = manifest["cuda"]["buckets"][-1]
    sizes = [Value.model_validate(value).size for value in bucket["values"]]
    return {"arena_bytes": bucket["arena_bytes"], "largest_activation_bytes": max(sizes, default=None)}


def average(layers: Sequence[Mapping[str, Any]], key: str) -> float:
    """Average width weighted by parameters."""
    params = [int(row["params"]) for row in layers]
    return sum(int(row[key]) * n for row, n in zip(layers, params, strict=True)) / max(1, sum(params))


def assembly(artifact: str | Path) -> str:
    """The kernels of an artifact as assembly text.

    Raises:
        UsageError: no disassembler is installed.
        UnsupportedError: NVIDIA's is not installed, or does not know the GPU.
    """
    opened = read_artifact(artifact)
    if opened.manifest["arch"] == "cuda":
        from lampq_tvm.compiler.cuda.disassembly import listing

        places = dict.fromkeys((k["offset"], k["size"]) for k in opened.manifest["cuda"]["kernels"])
        return "\n".join(listing(opened.sections["cubins"][start : start + size]) for start, size in places)
    tool = disassembler(opened.manifest["arch"])
    with memory_file(opened.sections["lib.so"]) as handle:
        command = [tool, "-d", "--no-show-raw-insn", path_of(handle)]
        shown = subprocess.run(command, capture_output=True, text=True, errors="replace", pass_fds=(handle,))
    if shown.returncode:
        what = f"{Path(tool).name} cannot read its code ({shown.stderr.strip()[-100:]})"
        raise UnsupportedError(what, where=str(artifact), hint="compile it again")
    return shown.stdout


def disassembler(arch: str) -> str:
    """Path of a disassembler for `x86` or `aarch64`.

    Raises:
        UsageError: none is installed.
    """
    triple = CPU_ARCHES[arch].triple
    names = ["llvm-objdump", *(f"llvm-objdump-{n}" for n in range(22, 13, -1)), f"{triple}-objdump"]
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise UsageError("no disassembler is installed", where="--asm", hint=f"install llvm, or binutils for {triple}")
    return found


def targets() -> list[dict[str, Any]]:
    """Every target: name, ISA and cores of its CPU (None for a plug-in card), arch and CUDA levels of its GPU, description."""
    from lampq_tvm.targets import boards, cuda_levels, resolve_target

    try:
        host = resolve_target("host")
        rows = [_row("host", host.isa, host.cores, None, [], "this machine")]
    except UnsupportedError as e:
        rows = [_row("host", None, os.cpu_count(), None, [], str(e))]
    for name, board in boards().items():
        arch = None if board.gpu is None else board.gpu.arch
        cpu = None if board.cpu is None else resolve_target(f"{name}:cpu")
        isa, cores = (None, None) if cpu is None else (cpu.isa, cpu.cores)
        rows.append(_row(name, isa, cores, arch, list(cuda_levels(board)), board.description))
    return rows


def _row(
    name: str, isa: str | None, cores: int | None, cuda_arch: str | None, levels: list[str], description: str
) -> dict[str, Any]:
    columns = {"name": name, "isa": isa, "cores": cores, "cuda_arch": cuda_arch, "cuda_levels": levels}
    return {**columns, "description": description}


def devices() -> list[dict[str, str]]:
    """Every form of `--device`."""
    from lampq_tvm.device.kinds import KINDS

    return [{"device": k.form, "times": f"{k.times.kind}, {k.times.unit}", "description": k.about()} for k in KINDS.values()]
