"""One runner in a process of its own, on this machine or on an emulated board.

    python worker.py count SITE KIND FILE IMAGES OUT THREADS    prints the instructions of its second run
    python worker.py turns SITE KIND FILE IMAGES OUT THREADS      runs as often as each line of stdin says, prints milliseconds

SITE is a folder of Python packages, or `-`. The logits of the last run, or of the first one of `turns`, are written to OUT.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Call = Callable[[], np.ndarray]
Images = Mapping[str, np.ndarray]  # pixels [1, C, H, W] uint8 and floats, the same normalized, float32


def lampq(file: str, images: Images, threads: int) -> Call:
    """An artifact of this project, fed with pixels."""
    from lampq_tvm.runtime.runner import load

    runner, pixels = load(Path(file), threads=threads), images["pixels"]
    return lambda: runner(pixels)


def torch_float(file: str, images: Images, threads: int) -> Call:
    """A safetensors file that names its timm model."""
    import torch
    from safetensors import safe_open

    from lampq_tvm.frontend.timm_source import build_timm

    torch.set_num_threads(threads)
    with safe_open(file, "pt") as weights:
        name = weights.metadata()["model"]
    module, image = build_timm(name, Path(file), False, None, 0), torch.from_numpy(images["floats"])

    @torch.inference_mode()
    def call() -> np.ndarray:
        logits: np.ndarray = module(image).numpy()
        return logits

    return call


def onnxruntime(file: str, images: Images, threads: int) -> Call:
    """An ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images["floats"]}
    return lambda: np.asarray(session.run(None, feed)[0])


def litert(file: str, images: Images, threads: int) -> Call:
    """A tflite file; XNNPACK takes its operators by default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(file, num_threads=threads)
    interpreter.allocate_tensors()
    source, found = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call() -> np.ndarray:
        interpreter.set_tensor(source, images["floats"])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(found))

    return call


def ncnn(file: str, images: Images, threads: int, half: bool = False) -> Call:
    """A param file with the bin file of the same name.

    Args:
        half: leave ncnn's default on, half precision wherever the core has it.
    """
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    if not half:
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(file)
    net.load_model(file.removesuffix(".param") + ".bin")
    image = ncnn.Mat(images["floats"][0]).clone()

    def call() -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", image)
        return np.array(extractor.extract("out0")[1])[None]

    return call


def openvino(file: str, images: Images, threads: int) -> Call:
    """An OpenVINO model."""
    import openvino

    asked = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(file, "CPU", asked).create_infer_request()
    return lambda: np.array(request.infer({0: images["floats"]})[0])


KINDS: dict[str, Callable[[str, Images, int], Call]] = {
    "lampq": lampq,
    "torch": torch_float,
    "onnxruntime": onnxruntime,
    "litert": litert,
    "ncnn": ncnn,
    "ncnn-half": lambda file, images, threads: ncnn(file, images, threads, half=True),
    "openvino": openvino,
}


def main() -> None:
    """Command line."""
    mode, site, kind, file, images, out, threads = sys.argv[1:]
    if site != "-":
        sys.path.insert(0, site)
    call = KINDS[kind](file, dict(np.load(images)), int(threads))
    if mode == "count":
        from lampq_tvm.device.counter import read_counter

        call()  # loads and allocates what a later run has
        reading, before = read_counter(), read_counter()
        logits = call()
        print(read_counter() - before - (before - reading))
        np.save(out, logits)
        return
    np.save(out, call())
    print("ready", flush=True)
    for line in sys.stdin:
        call()  # after a rest, caches and clocks are cold: not counted
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - start))
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
