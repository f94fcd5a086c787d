"""What is mutated: each kind of file with how one is made, the reader that takes it, and the command that does."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.trust.fuzzing import forge, mutate
from bench.trust.fuzzing.child import Make
from bench.trust.fuzzing.samples import FEW, MODEL, SAID, SHAPE
from lampq_tvm.api.checks import read_input
from lampq_tvm.artifact.container import read_artifact
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.data import open_dataset
from lampq_tvm.device import cost
from lampq_tvm.frontend.load import load_model
from lampq_tvm.frontend.timm_source import build_timm
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.network.model import InputSpec
from lampq_tvm.records.cpu import Record
from lampq_tvm.records.cuda import CudaRecord
from lampq_tvm.records.held import parse_held, read_held
from lampq_tvm.resources import data_dir
from lampq_tvm.runtime.runner import Runner
from lampq_tvm.store import load_stage
from lampq_tvm.targets import board
from lampq_tvm.tune.log import TrialLog

SPEC = InputSpec(1, 16, 16, (0.5,), (0.5,))
DATA = ["--data", "data.npz", *FEW]
Read = Callable[[Path], Any]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: writes a mutation into a folder, returns its path.
        read: its reader.
        command: the command line that reads it; None where no command names such a file.
    """

    name: str
    make: Make
    read: Read
    command: Callable[[Path], list[str]] | None = None


def kinds(folder: Path) -> list[Kind]:
    """Every kind, over the valid files of `samples.make_samples`."""
    cpu, gpu = folder / "cpu.lampq", folder / "gpu.lampq"
    here = [str(folder / word) if word == "data.npz" else word for word in DATA]

    def run(path: Path) -> list[str]:
        return ["run", str(path), "--input", str(folder / "x.npy"), "--output", str(path.with_suffix(".out.npy"))]

    def checkpoint(path: Path) -> list[str]:
        return ["doctor", *MODEL, "--checkpoint", str(path)]

    def model(path: Path) -> list[str]:
        return ["doctor", str(path), *SAID, "--trust-model"]

    def plan(path: Path) -> list[str]:
        return ["compile", *MODEL, *here, "--target", "host", "--plan", str(path), "-o", str(path.with_suffix(".lampq"))]

    def table(path: Path) -> list[str]:
        named = ["--latency-table", str(path), "--budget", "0.5x", "--budget", "4bit"]
        return ["plan", *MODEL, *here, "--target", "host", *named, "-o", str(path.with_suffix(".plan.json"))]

    def input_of(path: Path) -> list[str]:
        return ["run", str(cpu), "--input", str(path), "--output", str(path.with_suffix(".out.npy"))]

    def data(path: Path) -> list[str]:
        return ["eval", str(cpu), "--data", str(path), "--no-fp32"]

    texts = {
        "plan": ("plan.json", BitPlan.load, plan),
        "latency table": ("table.json", LatencyTable.load, table),
        "tuning record": (_shipped("vbmi"), _record_reader(Record), None),
        "CUDA record": (_shipped("sm_90"), _record_reader(CudaRecord), None),
    }
    raws: dict[str, tuple[str | Path, Read, Any]] = {
        "artifact, raw": ("cpu.lampq", read_artifact, lambda p: ["inspect", str(p)]),
        "npz": ("data.npz", _look_at_data, data),
        "npy": ("x.npy", lambda p: read_input(p, (1, 16, 16)), input_of),
        "safetensors": ("weights.safetensors", _load_checkpoint, checkpoint),
        "torch checkpoint": ("weights.pth", _load_checkpoint, checkpoint),
        "onnx, raw": ("model.onnx", _load, model),
        "pt2": ("model.pt2", _load, model),
        "stage": (next((folder / "cache").rglob("*.st")), _load_any_stage, None),
    }
    board_file, core_file = data_dir("targets") / "jetson-agx-orin-64gb.toml", data_dir("targets") / "cores" / "cortex-a76.toml"
    return [
        *(Kind(name, _json(folder / file), read, command) for name, (file, read, command) in texts.items()),
        *(Kind(name, _raw(folder / file), read, command) for name, (file, read, command) in raws.items()),
        Kind("board", _toml(board_file), board.read_board),
        Kind("core", _toml(core_file), cost.read_core),
        Kind("trial log", forge.trial_log, TrialLog),
        Kind("artifact, manifest", forge.manifest(read_artifact(cpu)), _run_artifact, run),
        Kind("artifact, sections", forge.sections(read_artifact(cpu)), read_artifact, lambda p: ["inspect", str(p)]),
        Kind("GPU artifact, manifest", forge.manifest(read_artifact(gpu)), read_artifact, lambda p: ["inspect", str(p)]),
        Kind("onnx", forge.onnx_model(folder / "model.onnx"), _load, model),
        Kind("npz, members", forge.members(folder / "data.npz"), _look_at_data, data),
        Kind("safetensors, header", forge.safetensors_header(folder / "weights.safetensors"), _load_checkpoint, checkpoint),
        Kind("images", _images(folder / "images"), _look_at_data, data),
    ]


def _raw(file: Path) -> Make:
    valid = file.read_bytes()
    return lambda rng, folder: _write(folder / file.name, mutate.blob(rng, valid))


def _json(file: Path) -> Make:
    valid = json.loads(file.read_bytes())
    return lambda rng, folder: _write(folder / file.name, mutate.json_text(rng, valid))


def _toml(file: Path) -> Make:
    valid = file.read_bytes()
    return lambda rng, folder: _write(folder / file.name, mutate.toml_text(rng, valid))


def _images(source: Path) -> Make:
    """A folder of images one of which is mutated."""

    def make(rng: random.Random, folder: Path) -> Path:
        shutil.copytree(source, folder / "images")
        file = rng.choice(sorted(p for p in (folder / "images").rglob("*") if p.is_file()))
        _write(file, mutate.blob(rng, file.read_bytes(), 0, rng.choice((64, None))))
        return folder / "images"

    return make


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _shipped(level: str) -> Path:
    return sorted((data_dir("schedules") / level).glob("*.json"))[0]


def _record_reader(schema: type[Record] | type[CudaRecord]) -> Read:
    def read(path: Path) -> None:
        raw = read_held(path)
        if raw is not None:
            parse_held(raw, path, schema)

    return read


def _look_at_data(path: Path) -> None:
    dataset = open_dataset(path, SPEC)
    dataset.verify()
    for _ in dataset.batches(8):
        pass


def _load(path: Path) -> None:
    load_model(str(path), mean=[0.5], std=[0.5], trust_model=True)


def _load_checkpoint(path: Path) -> None:
    args = {key: int(value) for key, value in (arg.split("=") for arg in SHAPE)}
    build_timm(MODEL[0], path, False, args, 0)


def _load_any_stage(path: Path) -> None:
    load_stage(path, "imported_model")


def _run_artifact(path: Path) -> None:
    made = read_artifact(path)
    with Runner(made, threads=1) as runner:
        image = np.zeros((1, *runner.image_shape), np.uint8)
        runner(image)
        runner.trace(image)
