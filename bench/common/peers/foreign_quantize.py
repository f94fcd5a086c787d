"""Quantizes a timm model with another library and writes its logits; run in that library's environment.

    python foreign_quantize.py METHOD FOLDER W_BITS A_BITS

FOLDER holds `model.json` (name and arguments), `weights.safetensors`, `calibration.npy` and `test.npy` (normalized float32); it
gets `logits.npy`, and `left.json`: what stays in float.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

BATCH = 64
NO_FURTHER = "no further:"
Model = Callable[[Tensor], Tensor]


def read(folder: Path) -> Any:
    """The float model."""
    told = json.loads((folder / "model.json").read_text())
    model = timm.create_model(told["name"], **told["arguments"]).eval()
    model.load_state_dict({name: value.float() for name, value in load_file(folder / "weights.safetensors").items()})
    return model


def batches(images: np.ndarray) -> Iterator[Tensor]:
    """Some images at a time."""
    for start in range(0, len(images), BATCH):
        yield torch.from_numpy(images[start : start + BATCH])


def brevitas(model: Any, calibration: np.ndarray, w_bits: int, a_bits: int) -> tuple[Model, str]:
    """Its recipe for vision models: layers one by one, percentiles of 99.999, GPTQ, bias correction."""
    from brevitas_examples.imagenet_classification.ptq import ptq_common

    loader = [(images, None) for images in batches(calibration)]
    found = ptq_common.quantize_model(
        model,
        backend="layerwise",
        weight_bit_width=w_bits,
        act_bit_width=a_bits,
        bias_bit_width=None,
        weight_quant_granularity="per_channel",
        act_quant_percentile=99.999,
        act_quant_type="asym",
        scale_factor_type="float_scale",
        quant_format="int",
        weight_param_method="mse",
        act_param_method="mse",
        layerwise_first_last_bit_width=8,
    )
    with torch.no_grad():
        found(loader[0][0])  # its quantizers of weights wait for a first run
    ptq_common.calibrate(loader, found)
    ptq_common.apply_gptq(loader, found, act_order=True, use_quant_activations=True)
    ptq_common.apply_bias_correction(loader, found)
    return found, "products of attention, softmax, GELU, norms, sums"


def modelopt(model: Any, calibration: np.ndarray, w_bits: int, a_bits: int) -> tuple[Model, str]:
    """SmoothQuant at 8/8, as its guide has it; the same quantizers with fewer bits below, ranges by their maximum."""
    import copy

    import modelopt.torch.quantization as mtq

    config = copy.deepcopy(mtq.INT8_SMOOTHQUANT_CFG)
    rows = config["quant_cfg"]
    sides = {"weight_quantizer": w_bits, "input_quantizer": a_bits}
    for row in rows if isinstance(rows, list) else [{"quantizer_name": k, "cfg": v} for k, v in rows.items()]:
        for side, bits in sides.items():
            if side in str(row.get("quantizer_name")) and isinstance(row.get("cfg"), dict) and "num_bits" in row["cfg"]:
                row["cfg"]["num_bits"] = bits
    found = mtq.quantize(model, config, lambda m: [m(images) for images in batches(calibration)])
    return found, "products of attention, softmax, GELU, norms, sums"


def nncf(model: Any, calibration: np.ndarray, w_bits: int, a_bits: int) -> tuple[Model, str]:
    """Its post-training quantization for transformers, SmoothQuant and bias correction included: 8/8 is all there is."""
    import nncf as library

    if (w_bits, a_bits) != (8, 8):
        raise SystemExit(f"{NO_FURTHER} quantizes weights and activations to 8 bits alone")
    data = library.Dataset(list(batches(calibration)))
    made = library.quantize(model, data, model_type=library.ModelType.TRANSFORMER, subset_size=-(-len(calibration) // BATCH))
    return made, "softmax, GELU, norms, sums"


def onnxruntime(model: Any, calibration: np.ndarray, w_bits: int, a_bits: int) -> tuple[Model, str]:
    """Calibrated int8 (QDQ) of every weighted product, scales per channel; 8/8 is all there is."""
    import tempfile

    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if (w_bits, a_bits) != (8, 8):
        raise SystemExit(f"{NO_FURTHER} its calibrated quantization has 8 bits alone")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """The calibration images, one at a time."""

        def __init__(self) -> None:
            self.left = iter([{"x": image[None]} for image in calibration])

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next image."""
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as place:
        source, ready, made = (Path(place) / f"{name}.onnx" for name in ("float", "ready", "int8"))
        shapes = {"x": {0: "batch"}, "y": {0: "batch"}}
        example = torch.from_numpy(calibration[:2])
        torch.onnx.export(model, (example,), source, input_names=["x"], output_names=["y"], dynamic_axes=shapes, dynamo=False)
        quant_pre_process(source, ready)
        kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
        quantize_static(ready, made, Reader(), per_channel=True, op_types_to_quantize=["MatMul", "Gemm", "Conv"], **kinds)
        session = ort.InferenceSession(made.read_bytes())
    return lambda images: torch.from_numpy(session.run(None, {"x": images.numpy()})[0]), "softmax, GELU, norms, sums"


METHODS = {method.__name__: method for method in (brevitas, modelopt, nncf, onnxruntime)}


def main() -> None:
    """Command line."""
    name, folder, w_bits, a_bits = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.manual_seed(0)
    call, left = METHODS[name](read(folder), np.load(folder / "calibration.npy"), w_bits, a_bits)
    with torch.no_grad():
        logits = torch.cat([call(images) for images in batches(np.load(folder / "test.npy"))])
    np.save(folder / "logits.npy", logits.numpy())
    (folder / "left.json").write_text(json.dumps(left))


if __name__ == "__main__":
    main()
