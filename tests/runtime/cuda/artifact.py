"""A small artifact of three hand-written kernels, and what it computes in NumPy.

patch[b,r,i] = pixel - 128                          int8
packed[b,r,i] = table[patch[b,r,i] + 128]           int4, rows padded to 48 bytes
head[b,n] = fma(fl(sum of packed[b]), S[n], B[n])   float32, in the memory that held `patch`
"""

from __future__ import annotations

import functools

import numpy as np
from safetensors.numpy import save

from lampq_tvm.artifact.container import Artifact
from lampq_tvm.compiler.cuda.nvrtc import Compiled, compile_text
from lampq_tvm.oracle.fma import fma32

ROWS, WIDTH, CLASSES = 3, 64, 5
PIXELS, PITCH = ROWS * WIDTH, 48
SHARED_BYTES = 50_000  # more than a kernel has without asking
SOURCES = {
    "patch": """extern "C" __global__ void patch(signed char* out, const unsigned char* image) {
        int i = blockIdx.x * 192 + threadIdx.x;
        out[i] = (signed char)(image[i] - 128);
    }""",
    "pack": """extern "C" __global__ void pack(unsigned char* out, const signed char* codes, const signed char* table) {
        int row = blockIdx.x * 3 + threadIdx.y, i = threadIdx.x;
        const signed char* c = codes + row * 64 + 2 * i;
        out[row * 48 + i] = (table[c[0] + 128] & 15) | (table[c[1] + 128] & 15) << 4;
    }""",
    "head": """extern "C" __global__ void head(float* out, const unsigned char* packed, const float* S, const float* B) {
        extern __shared__ int sums[];
        int t = threadIdx.x, total = 0;
        unsigned char byte = packed[blockIdx.x * 144 + t / 32 * 48 + t % 32];
        sums[t] = ((int)(byte << 28) >> 28) + ((int)(byte << 24) >> 28);
        __syncthreads();
        if (t < 5) {
            for (int i = 0; i < 96; ++i) total += sums[i];
            out[blockIdx.x * 5 + t] = __fmaf_rn((float)total, S[t], B[t]);
        }
    }""",
}
BLOCKS = {"patch": (192, 1, 1), "pack": (32, 3, 1), "head": (96, 1, 1)}


@functools.cache
def compiled(arch: str = "sm_87", major: int = 12) -> dict[str, Compiled]:
    """The kernels, by name."""
    return {name: compile_text(text, arch, major) for name, text in SOURCES.items()}


def constants() -> dict[str, np.ndarray]:
    """The payload: a table of int4 codes, scales, biases."""
    rng = np.random.default_rng(5)
    table = rng.integers(-8, 8, 256, np.int8)
    S, B = rng.normal(size=(2, CLASSES)).astype(np.float32)
    return {"B": B, "S": S, "table": table}


def bucket(batch: int) -> dict[str, object]:
    """Memory and launches for one batch size."""
    image, patch, packed, arena = (batch * n for n in (0, 192, 384, 528))
    size, out = batch * PIXELS, batch * CLASSES * 4
    values = {"patch": ["value", patch, size], "packed": ["value", packed, batch * ROWS * PITCH], "head": ["value", patch, out]}
    arguments = [
        [values["patch"], ["value", image, size]],
        [values["packed"], values["patch"], ["param", 2]],
        [values["head"], values["packed"], ["param", 1], ["param", 0]],
    ]
    launches = [
        {"kernel": i, "grid": [batch, 1, 1], "block": list(BLOCKS[name]), "args": args, "writes": [written]}
        for i, (name, args, written) in enumerate(zip(SOURCES, arguments, values, strict=True))
    ]
    shapes = {"patch": ([batch, ROWS, WIDTH], 64, "int8"), "packed": ([batch, ROWS, WIDTH], PITCH, "int4")}
    shapes["head"] = [batch, CLASSES], 4 * CLASSES, "float32"
    rows = [
        {"name": n, "offset": values[n][1], "shape": shape, "row_bytes": pitch, "dtype": dtype}
        for n, (shape, pitch, dtype) in shapes.items()
    ]
    regions = {"input": [image, size], "output": [patch, out]}
    return {"batch": batch, "arena_bytes": arena, **regions, "launches": launches, "values": rows}


def small_artifact(batches: tuple[int, ...] = (1, 4), arch: str = "sm_87", major: int = 12) -> Artifact:
    """The artifact, as it would be read from a file."""
    cubins, kernels = b"", []
    for name, kernel in compiled(arch, major).items():
        shared = SHARED_BYTES if name == "head" else 0
        kernels.append({"name": name, "entry": name, "offset": len(cubins), "size": len(kernel.cubin), "shared_bytes": shared})
        cubins += kernel.cubin
    values = {row["name"]: row for row in bucket(batches[0])["values"]}
    dtypes = {"patch": "int8", "packed": "int8", "head": "float32"}  # as they are handed out
    manifest = {
        "model": "written by hand",
        "arch": "cuda",
        "isa": arch,
        "target": "jetson-agx-orin-64gb@jp6",
        "layers": [],
        "versions": {},
        "features": [],
        "batch": batches[0],
        "input": {"channels": 3, "height": 8, "width": 8, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]},
        "params": [{"from": "array", "tensor": name} for name in ("B", "S", "table")],
        "values": [{"name": n, "shape": v["shape"], "dtype": dtypes[n]} for n, v in values.items()],
        "weights": "random",
        "has_classifier": True,
        "cuda": {"arch": arch, "major": major, "kernels": kernels, "buckets": [bucket(b) for b in batches]},
    }
    return Artifact(manifest, {"cubins": cubins, "payload.safetensors": save(constants()), "plan.json": b"{}"}, 0)


def expected(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Every value for images [N, 3, 8, 8] uint8."""
    fixed = constants()
    patch = (pixels.reshape(-1, ROWS, WIDTH).astype(np.int16) - 128).astype(np.int8)
    packed = fixed["table"][patch.astype(np.int16) + 128]
    total = packed.sum((1, 2), dtype=np.int32).astype(np.float32)
    return {"patch": patch, "packed": packed, "head": fma32(total[:, None], fixed["S"], fixed["B"])}
