"""Mutations that keep a file's outside whole - digest, checksums, lengths - so that what lies inside is read."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.trust.fuzzing import mutate
from bench.trust.fuzzing.child import Make
from lampq_tvm.artifact.container import ALIGN, HEAD, MAGIC, Artifact, pack
from lampq_tvm.tune.log import encode

TRIALS = [
    {"identity": "i", "phase": "search", "tiles": "6x4", "outcome": "exact", "unit": "us", "cost": 3.5},
    {"identity": "i", "phase": "final", "tiles": ["6x4", "8x4"], "unit": "us", "costs": [3.5, 3.2], "gains": [1.0, 1.1]},
    {"identity": "i", "phase": "finished", "seed": 0, "trials": 2},
]


def manifest(valid: Artifact) -> Make:
    """An artifact of the right digest with a changed manifest."""
    content = b"".join(data + bytes(-len(data) % ALIGN) for _, data in sorted(valid.sections.items()))

    def make(rng: random.Random, folder: Path) -> Path:
        text = mutate.json_text(rng, valid.manifest)
        text += b" " * (-(HEAD + 8 + len(text)) % ALIGN)
        body = len(text).to_bytes(8, "little") + text + content
        return _write(folder / "a.lampq", MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    return make


def sections(valid: Artifact) -> Make:
    """An artifact of the right digest with changed, missing or exchanged sections; code itself stays as it is."""
    head = {k: v for k, v in valid.manifest.items() if k not in ("schema", "sections")}

    def make(rng: random.Random, folder: Path) -> Path:
        made = dict(valid.sections)
        name = rng.choice(sorted(made))
        match rng.randrange(6):
            case 0:
                del made[name]
            case 1:
                made[rng.choice(("more", "lib.so", "cubins"))] = rng.randbytes(64)
            case 2:
                other = rng.choice(sorted(made))
                made[name], made[other] = made[other], made[name]
            case _:
                made[name] = mutate.blob(rng, made[name], 0, 64 + 56 * 8 if name == "lib.so" else 4096)
        return _write(folder / "a.lampq", pack(made, head))

    return make


def trial_log(rng: random.Random, folder: Path) -> Path:
    """A log whose lines have the right checksums but changed trials, or changed bytes."""
    lines = []
    for trial in TRIALS:
        made = mutate.document(rng, trial)
        try:
            lines.append(encode(made))
        except (ValueError, TypeError):
            lines.append(b"\n")
    data = b"".join(lines)
    return _write(folder / "k.jsonl", mutate.blob(rng, data) if rng.random() < 0.3 else data)


def onnx_model(file: Path) -> Make:
    """A parsed model with one to three messages of it changed: dims, dtypes, names, attributes, order, wiring."""
    import onnx

    valid = onnx.load(str(file))

    def make(rng: random.Random, folder: Path) -> Path:
        model = onnx.ModelProto()
        model.CopyFrom(valid)
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change(rng, model)
        return _write(folder / "m.onnx", model.SerializeToString())

    return make


OPERATORS = ("Add", "Expand", "Tile", "Pad", "ConstantOfShape", "MatMul", "Concat", "Loop", "Gather", "Range", "x", "")
DIMS = (0, 1, -1, 2, 3, 7, 1 << 20, 1 << 31, 1 << 40, 1 << 62, -(1 << 63))


def _change(rng: random.Random, model: Any) -> None:
    graph = model.graph
    tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]
    tensor, node, value = rng.choice(tensors), rng.choice(graph.node), rng.choice([*graph.input, *graph.output])
    names = [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output] + ["", "nobody"]
    match rng.randrange(12):
        case 0 if len(tensor.dims):
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(DIMS)
        case 1:
            tensor.dims.extend(rng.choice(DIMS) for _ in range(rng.choice((1, 2, 70))))
        case 2:
            tensor.data_type = rng.randrange(30)
        case 3:
            tensor.raw_data = mutate.blob(rng, tensor.raw_data or b"\0" * 8)
        case 4:  # a small integer becomes a huge one: shapes, axes, pads, ends of ranges
            tensor.raw_data = np.array(rng.choice(DIMS), "<i8").tobytes() * max(1, len(tensor.raw_data) // 8)
        case 5 if len(node.input):
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 6 if len(node.output):
            node.output[rng.randrange(len(node.output))] = rng.choice(names)
        case 7:
            node.op_type = rng.choice(OPERATORS)
        case 8 if len(node.attribute):
            attribute = rng.choice(node.attribute)
            attribute.i, attribute.f = rng.choice(DIMS), rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
            attribute.ints.append(rng.choice(DIMS))
        case 9 if len(value.type.tensor_type.shape.dim):
            rng.choice(value.type.tensor_type.shape.dim).dim_value = rng.choice(DIMS)
        case 10:
            other = rng.choice(graph.node)
            node.op_type, other.op_type = other.op_type, node.op_type
        case _:
            kept = list(graph.node)
            rng.shuffle(kept) if rng.random() < 0.3 else kept.remove(node)
            del graph.node[:]
            graph.node.extend(kept)


def members(file: Path) -> Make:
    """An archive whose checksums are right and whose members are changed, packed, missing or doubled."""
    with zipfile.ZipFile(file) as archive:
        valid = {name: archive.read(name) for name in archive.namelist()}

    def make(rng: random.Random, folder: Path) -> Path:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name, data in valid.items():
                made = mutate.blob(rng, data, 0, 128) if rng.random() < 0.7 else data
                if rng.random() < 0.95:
                    archive.writestr(name, made)
                if rng.random() < 0.05:
                    archive.writestr(rng.choice(("images.npy", "../x", "more.npy", "labels")), made)
        return _write(folder / "d.npz", out.getvalue())

    return make


def safetensors_header(file: Path) -> Make:
    """A checkpoint with a changed header of the right length."""
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    valid, rest = json.loads(raw[8 : 8 + size]), raw[8 + size :]

    def make(rng: random.Random, folder: Path) -> Path:
        text = mutate.json_text(rng, valid)
        return _write(folder / "w.safetensors", len(text).to_bytes(8, "little") + text + rest)

    return make


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
