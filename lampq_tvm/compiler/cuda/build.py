"""A network lowered for a GPU becomes cubins and the CUDA part of a manifest."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from lampq_tvm.compiler.build import common_sections, manifest
from lampq_tvm.compiler.cuda.nvrtc import compile_text
from lampq_tvm.compiler.cuda.text import cuda_text
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.lower.cuda.launch import Launch, Recipe
from lampq_tvm.lower.cuda.network import CudaLowered, lower_cuda
from lampq_tvm.network.model import canonical_json
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.records.cuda import CudaRecords
from lampq_tvm.targets import Target

BUCKETS = (1, 8, 32)


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel for one architecture.

    Attributes:
        kernel: its launch.
        entry: its name in the binary.
        params: its buffers in the order of its parameters.
        cubin: the binary.
        ptx: what that was assembled from.
    """

    kernel: CudaKernel
    entry: str
    params: tuple[str, ...]
    cubin: bytes
    ptx: str

    @property
    def buffers(self) -> list[tuple[int, str]]:
        """(bytes, dtype) of its buffers in the order of its parameters."""
        found = {b.name: (math.prod(int(x) for x in b.shape), str(b.dtype)) for b in self.kernel.func.params}
        return [(found[name][0] * np.dtype(found[name][1]).itemsize, found[name][1]) for name in self.params]

    @property
    def early(self) -> bool:
        """Whether it waits by itself for the kernel before it."""
        return "griddepcontrol.wait" in self.ptx


def compile_kernels(launches: Iterable[Launch], arch: str, major: int) -> dict[str, CompiledKernel]:
    """Every distinct kernel of some launches, by name, in their order."""
    builders = {launch.kernel: launch.build for launch in launches}
    kernels = {name: build(name) for name, build in builders.items()}
    texts = {name: cuda_text(kernel.func, arch) for name, kernel in kernels.items()}
    with ThreadPoolExecutor() as pool:  # NVRTC runs outside of Python's lock
        compiled = dict(zip(texts, pool.map(lambda text: compile_text(text.text, arch, major), texts.values()), strict=True))
    return {
        name: CompiledKernel(kernels[name], texts[name].name, texts[name].params, compiled[name].cubin, compiled[name].ptx)
        for name in kernels
    }


def buckets(batch: int) -> list[int]:
    """Batch sizes that an artifact for up to `batch` images holds kernels for."""
    return sorted({b for b in BUCKETS if b < batch} | {batch})


@dataclass(frozen=True)
class CudaBuild:
    """What `artifact.container.write_artifact` takes, and the PTX of each binary, from which the interpreter runs it."""

    sections: dict[str, bytes]
    manifest: dict[str, Any]
    ptx: dict[bytes, str]


def build_cuda(qm: QuantizedModel, target: Target, *, batch: int = 1, records: CudaRecords | None = None) -> CudaBuild:
    """Compile an integer network for a GPU, for batches of up to `batch` images, with some records (None: the shipped ones).

    Raises:
        UnsupportedError: an operator has no CUDA kernel, or the compiler is missing.
    """
    if target.cuda_major is None:
        raise AssertionError(f"{target.name} has no GPU")
    records = records or CudaRecords(target.isa)
    lowered = [lower_cuda(qm, target.isa, size, records) for size in buckets(batch)]
    kernels = compile_kernels([launch for x in lowered for launch in x.launches], target.isa, target.cuda_major)
    part = CudaPart(target.isa, target.cuda_major, kernels)
    cuda = part.manifest(lowered)
    last = cuda["buckets"][-1]["values"]
    values = [{"name": v["name"], "shape": v["shape"], "dtype": v["dtype"].replace("int4", "int8")} for v in last]
    head = manifest(qm, target, batch) | {"cuda": cuda, "params": part.recipes, "values": values}
    sections = {"cubins": part.cubins, **common_sections(qm)}
    return CudaBuild(sections, head, {kernel.cubin: kernel.ptx for kernel in kernels.values()})


class CudaPart:
    """The CUDA part of a manifest, bucket by bucket.

    Attributes:
        recipes: of the parameters, equal ones once, in order.
        cubins: the section of that name.
    """

    def __init__(self, arch: str, major: int, kernels: Mapping[str, CompiledKernel]) -> None:
        self.recipes: list[Recipe] = []
        self.cubins = b""
        self._numbers: dict[str, int] = {}
        self._kernels, self._order = kernels, {name: i for i, name in enumerate(kernels)}
        rows = []
        for name, kernel in kernels.items():
            place = {"offset": len(self.cubins), "size": len(kernel.cubin)}
            how = {"shared_bytes": kernel.kernel.shared_bytes} | ({"early": True} if kernel.early else {})
            rows.append({"name": name, "entry": kernel.entry, **place, **how})
            self.cubins += kernel.cubin + bytes(-len(kernel.cubin) % 64)
        self._head = {"arch": arch, "major": major, "kernels": rows}

    def manifest(self, lowered: Iterable[CudaLowered]) -> dict[str, Any]:
        """The part, for networks lowered for rising batches; its values are those that every batch size stores."""
        networks = list(lowered)
        stored = [name for name in networks[0].shapes if all(name in x.shapes for x in networks)]
        return {**self._head, "buckets": [self._bucket(x, stored) for x in networks]}

    def _bucket(self, lowered: CudaLowered, stored: Collection[str]) -> dict[str, Any]:
        values = {value.name: value for launch in lowered.launches for _, value in launch.outs} | {"image": lowered.image}
        region = {name: [lowered.offsets[name], value.bytes] for name, value in values.items()}
        rows = []
        for name in stored:
            value, shape = values[name], lowered.shapes[name]
            place = {"name": name, "offset": region[name][0], "shape": list(shape), "row_bytes": value.row_bytes}
            rows.append({**place, "dtype": value.dtype})
        pixels = lowered.image.channels
        return {
            "batch": lowered.batch,
            "arena_bytes": lowered.arena_bytes,
            "input": [region["image"][0], pixels],
            "outputs": [region[name] for name in lowered.outputs],
            "launches": [self._launch(launch, region, stored) for launch in lowered.launches],
            "values": rows,
        }

    def _launch(self, launch: Launch, region: Mapping[str, list[int]], stored: Collection[str]) -> dict[str, Any]:
        kernel = self._kernels[launch.kernel]
        places = {name: ["value", *region[read]] for name, read in launch.reads.items()}
        places |= {name: ["param", self._number(recipe)] for name, recipe in launch.params.items()}
        places |= {name: ["value", *region[value.name]] for name, value in launch.outs}
        return {
            "kernel": self._order[launch.kernel],
            "grid": list(kernel.kernel.grid),
            "block": list(kernel.kernel.block),
            "args": [places[name] for name in kernel.params],
            "writes": [value.name for _, value in launch.outs if value.name in stored],
        }

    def _number(self, recipe: Recipe) -> int:
        key = canonical_json(recipe)
        if key not in self._numbers:
            self._numbers[key] = len(self.recipes)
            self.recipes.append(recipe)
        return self._numbers[key]
