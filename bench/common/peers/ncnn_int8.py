"""ncnn's int8 form of a float model: weights of its matrix products in int8, activations quantized at run time.

ncnn ships its own tool for this (`ncnn2int8`) as source alone. The form is that of ncnn's Gemm layer: `18=2` in the param file;
in the bin file weights behind the tag of int8 data, and one scale, 127 / max|w|, behind the bias. Attention (`SDPA`) has no
weights and takes `18=2` alone. Convolution and InnerProduct want calibrated scales, so patch embedding and head stay float.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lampq_tvm.errors import UnsupportedError

INT8 = np.uint32(0x000D4B38)
WEIGHTLESS = "Input Split Reshape Permute Concat Crop Slice BinaryOp UnaryOp GELU Softmax SDPA MatMul Squeeze Reduction Noop"


class Reader:
    """The bin file, taken in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, floats: int, tagged: bool) -> bytes:
        """The next array of float32, with the tag of its type where it has one."""
        size = 4 * (floats + tagged)
        piece = self.data[self.at : self.at + size]
        if len(piece) < size or (tagged and piece[:4] != bytes(4)):
            raise UnsupportedError("its weights are not plain float32", where="ncnn")
        self.at += size
        return piece


def parameters(words: list[str]) -> dict[int, float]:
    """The `key=value` words of a layer's line; arrays are left out.

    >>> parameters(["5=1", "9=192", "-23302=1,3"])
    {5: 1.0, 9: 192.0}
    """
    pairs = (word.split("=", 1) for word in words)
    return {int(key): float(value) for key, value in pairs if "," not in value and '"' not in value}


def quantize(param: Path, to: Path) -> None:
    """Write the int8 form of a param file and the bin file of the same name.

    Raises:
        UnsupportedError: a layer with weights that this file does not know.
    """
    reader, lines, out = Reader(param.with_suffix(".bin").read_bytes()), [], bytearray()
    for line in param.read_text("utf-8").splitlines():
        words = line.split()
        if len(words) < 3:  # the two lines of the heading
            lines.append(line)
            continue
        blobs = 4 + int(words[2]) + int(words[3])
        pieces = layer(words[0], parameters(words[blobs:]), reader)
        out += b"".join(pieces)
        lines.append(f"{line} 18=2" if words[0] in ("Gemm", "SDPA") else line)
    if reader.at != len(reader.data):
        raise UnsupportedError("its bin file holds more than its layers", where="ncnn")
    to.write_text("\n".join(lines) + "\n", "utf-8")
    to.with_suffix(".bin").write_bytes(out)


def layer(kind: str, p: dict[int, float], reader: Reader) -> list[bytes]:
    """What a layer's arrays become; `p` are its parameters by ncnn's numbers."""

    def size(*keys: int) -> int:
        return int(np.prod([p.get(key) or 1 for key in keys]))

    if kind == "Gemm":
        return gemm(size(8), size(9), p, reader)
    if kind == "LayerNorm":
        return [reader.take(size(0), False) for _ in range(2 * int(p.get(2, 1)))]
    if kind == "MemoryData":
        return [reader.take(size(0, 1, 2, 11), False)]
    if kind in ("Convolution", "InnerProduct"):
        weights, bias = (6, 5) if kind == "Convolution" else (2, 1)
        return [reader.take(size(weights), True), *([reader.take(size(0), False)] if p.get(bias) else [])]
    if kind not in WEIGHTLESS.split():
        raise UnsupportedError(f"no int8 form of a network with layer {kind}", where="ncnn")
    return []


def gemm(n: int, k: int, p: dict[int, float], reader: Reader) -> list[bytes]:
    """A product with constant weights [n, k] and, if it has one, a bias [n] (-1 in place of 4 says that it has none)."""
    biased = p.get(6) == 1.0 and p.get(10) != -1.0
    if (p.get(3), p.get(4, 0.0), p.get(5)) != (1.0, 0.0, 1.0) or (biased and p.get(10) != 4.0):
        raise UnsupportedError("no int8 form of a product without constant weights", where="ncnn")
    weights = np.frombuffer(reader.take(n * k, True)[4:], np.float32)
    bias = reader.take(n, True) if biased else b""
    scale = np.float32(127 / np.abs(weights).max())
    codes = np.clip(np.rint(weights * scale), -127, 127).astype(np.int8).tobytes()
    return [INT8.tobytes(), codes, bytes(-len(codes) % 4), bias, scale.tobytes()]
