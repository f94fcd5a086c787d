"""Run by OpenVINO's environment: an ONNX file as a float and an int8 OpenVINO model.

python openvino_convert.py ONNX IMAGES FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import nncf
import numpy as np
import openvino


def main() -> None:
    """Command line."""
    source, images, folder = sys.argv[1], dict(np.load(sys.argv[2])), Path(sys.argv[3])
    model = openvino.convert_model(source)
    openvino.save_model(model, folder / "fp32.xml", compress_to_fp16=False)
    data = nncf.Dataset([image[None] for image in images["calibration"]])
    quantized = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(images["calibration"]))
    openvino.save_model(quantized, folder / "int8.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main()
