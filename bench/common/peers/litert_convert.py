"""Run by LiteRT's environment: a timm model as a float tflite file and its two int8 forms.

    python litert_convert.py MODEL WEIGHTS IMAGES FOLDER

The whole network in int8 is not made: softmax and parts of LayerNorm then fall back from XNNPACK to reference loops, so that it
runs ten times slower than with int8 in the linear layers alone, and correlates with float by 0.89 instead of 0.999 (DeiT-T).
"""

from __future__ import annotations

import sys
from pathlib import Path

import litert_torch
import numpy as np
import timm
import torch
from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager
from safetensors.torch import load_file


def static_recipe() -> list[dict[str, object]]:
    """Linear layers and the patch embedding in int8, with calibrated scales."""
    manager = recipe_manager.RecipeManager()
    for kind in (qtyping.TFLOperationName.FULLY_CONNECTED, qtyping.TFLOperationName.CONV_2D):
        manager.add_static_config(regex=".*", operation_name=kind, activation_num_bits=8, weight_num_bits=8)
    found: list[dict[str, object]] = manager.get_quantization_recipe()
    return found


def main() -> None:
    """Command line."""
    model, weights, images, folder = sys.argv[1], sys.argv[2], dict(np.load(sys.argv[3])), Path(sys.argv[4])
    module = timm.create_model(model).eval()
    module.load_state_dict(load_file(weights))
    source = folder / "fp32.tflite"
    litert_torch.convert(module, (torch.from_numpy(images["floats"]),)).export(str(source))
    dynamic, static = quantizer.Quantizer(str(source)), quantizer.Quantizer(str(source))
    dynamic.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    (folder / "dynamic.tflite").write_bytes(dynamic.quantize().quantized_model)
    static.load_quantization_recipe(static_recipe())
    calibrated = static.calibrate({"serving_default": [{"args_0": image[None]} for image in images["calibration"]]})
    (folder / "static.tflite").write_bytes(static.quantize(calibrated).quantized_model)


if __name__ == "__main__":
    main()
