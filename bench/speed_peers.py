"""ONNX Runtime beside this project: export, dynamic int8, and its aarch64 wheel on the emulated board."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from lampq_tvm.device.emulate import EmulatedBoard
from lampq_tvm.device.provision import once
from lampq_tvm.device.wheels import install_wheels
from lampq_tvm.errors import DeviceError
from lampq_tvm.frontend.quiet import quiet
from lampq_tvm.store import cache_dir

# ONNX Runtime has an integer convolution, which the patch embedding needs, for unsigned weights alone.
INT8 = {
    "int8, S8 weights": ("QInt8", QuantType.QInt8, ["MatMul"]),
    "int8, U8 weights and patches": ("QUInt8-patches", QuantType.QUInt8, ["MatMul", "Conv"]),
}

OURS = """
import sys, numpy
from lampq_tvm.runtime.runner import load
path, images, out, n = sys.argv[1:]
runner, image = load(path, threads=1), numpy.load(images)["pixels"]
for _ in range(int(n)):
    logits = runner(image)
numpy.save(out, logits)
"""
PEER = """
import sys
site, path, images, out, n = sys.argv[1:]
sys.path.insert(0, site)
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
image = {session.get_inputs()[0].name: numpy.load(images)["floats"]}
for _ in range(int(n)):
    logits = session.run(None, image)[0]
numpy.save(out, logits)
"""


def export(name: str, module: torch.nn.Module, image: np.ndarray, folder: Path) -> dict[str, Path]:
    """The float and the int8 ONNX files of a torch model, by `fp32` and the keys of `INT8`."""
    made = {"fp32": folder / f"{name}-fp32.onnx"}
    if not made["fp32"].exists():
        with quiet():
            program = torch.onnx.export(module, (torch.from_numpy(image),), dynamo=True)
        proto = program.model_proto
        del proto.graph.value_info[:]  # shapes noted by the exporter are wrong once Gemm was turned into MatMul
        onnx.save(proto, made["fp32"])
    for label, (suffix, kind, operators) in INT8.items():
        made[label] = folder / f"{name}-{suffix}.onnx"
        if not made[label].exists():
            quantize_dynamic(made["fp32"], made[label], weight_type=kind, op_types_to_quantize=operators)
    return made


def ort_call(path: Path, image: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """A call of ONNX Runtime on one image."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image}
    return lambda: np.asarray(session.run(None, feed)[0])


def ort_on_board(board: EmulatedBoard) -> Path | None:
    """Folder of ONNX Runtime for the board's Python, of the version that runs here; None where it cannot be had."""
    folder = cache_dir().absolute() / f"onnxruntime-{version('onnxruntime')}-aarch64-py{board.install.python}"
    try:
        with once(folder) as building:
            if building is not None:
                install_wheels([f"onnxruntime=={version('onnxruntime')}"], board.install.python, building)
        done = board.run_python(["-c", f"import sys; sys.path.insert(0, {str(folder)!r}); import onnxruntime"])
    except DeviceError as e:
        print(f"speed: no ONNX Runtime for the board: {e}", file=sys.stderr)
        return None
    if done.returncode != 0:
        print(f"speed: ONNX Runtime does not run on the board: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return folder


def board_program(kind: str, path: Path, images: Path, out: Path, site: Path | None) -> list[str]:
    """Arguments of the board's Python, the number of runs left to be added."""
    program = ["-c", OURS] if kind == "lampq" else ["-c", PEER, str(site)]
    return [*program, str(path), str(images), str(out)]
