"""Runs the launches of a CUDA artifact: everything is loaded once, each batch size is a graph that is replayed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from lampq_tvm.artifact.launches import Bucket, Launch, Plan, Value, read_plan
from lampq_tvm.device.cuda.gpu import Gpu
from lampq_tvm.device.kind import Device
from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.oracle.fma import fma32


class Executor:
    """A CUDA artifact on a device.

    Args:
        manifest: the artifact's.
        cubins: its binaries.
        params: constant arguments, uploaded once.
        device: where it runs.
        gpu: taken instead of the device's own; this object closes it.

    Attributes:
        batches: the batch sizes that it was compiled for, rising.
        gpu: the device.

    Raises:
        CorruptError: the manifest's CUDA part is not consistent.
        UnsupportedError: it was compiled for another GPU, or for a newer driver.
        DeviceError: no driver, no device, too little memory, or a failed call; from every method.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        cubins: bytes,
        params: Sequence[np.ndarray],
        device: Device,
        gpu: Gpu | None = None,
    ) -> None:
        self.plan = read_plan(manifest, len(cubins), len(params))
        self.batches = tuple(bucket.batch for bucket in self.plan.buckets)
        self._buckets = {bucket.batch: bucket for bucket in self.plan.buckets}
        self.gpu: Gpu = device.gpu() if gpu is None else gpu
        try:
            check_gpu(self.plan, self.gpu)
            self._load(cubins, params)
        except BaseException:
            self.gpu.close()
            raise

    def _load(self, cubins: bytes, params: Sequence[np.ndarray]) -> None:
        gpu = self.gpu
        gpu.activate()
        load = functools.cache(lambda offset, size: gpu.load(cubins[offset : offset + size]))
        self._functions = [gpu.function(load(k.offset, k.size), k.entry, k.shared_bytes) for k in self.plan.kernels]
        self._params = _upload(gpu, params)
        arena_bytes = max(bucket.arena_bytes for bucket in self.plan.buckets)
        self._arena = gpu.allocate(arena_bytes)
        gpu.upload(self._arena, np.zeros(arena_bytes, np.uint8))  # the first launches read it before any image came
        self._image = gpu.pinned(max(bucket.input[1] for bucket in self.plan.buckets))
        self._result = gpu.pinned(max(sum(size for _, size in bucket.given) for bucket in self.plan.buckets))
        self._graphs = {batch: gpu.capture(functools.partial(self._launch_all, b)) for batch, b in self._buckets.items()}

    def call(self, function: str, image: np.ndarray, outputs: int = 1) -> list[np.ndarray]:
        """Run `main` (the outputs) or `trace` (every value) on uint8 images of one of `batches`; results as arrays here."""
        self.gpu.activate()
        bucket = self._bucket(len(image))
        if function == "trace":
            return self._trace(bucket, image)
        self._enter(bucket, image)
        self.gpu.replay(self._graphs[bucket.batch])
        return self._leave(bucket)

    def pixels(self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """uint8 pixels [B, C, H, W] of a normalized float32 image batch; scale and shift are [C] float32."""
        return np.clip(np.rint(fma32(x, scale[:, None, None], shift[:, None, None])), 0, 255).astype(np.uint8)

    def seconds(self, image: np.ndarray, repeat: int) -> list[float]:
        """Times of the graph alone, one sample per run, by the device's own clock."""
        self.gpu.activate()
        self._enter(self._bucket(len(image)), image)
        graph = self._graphs[len(image)]
        return [self.gpu.seconds(lambda: self.gpu.replay(graph)) for _ in range(repeat)]

    def launch_seconds(self, batch: int, repeat: int) -> list[tuple[str, float]]:
        """(kernel, time) of each launch of a batch size, in order, each alone: the mean of `repeat` in one graph.

        Raises:
            UsageError: the batch size was not compiled.
        """
        bucket = self._bucket(batch)
        self.gpu.activate()
        found = []
        for launch in bucket.launches:
            graph = self.gpu.capture(functools.partial(self._repeat, launch, repeat))
            run = functools.partial(self.gpu.replay, graph)
            run()  # the first one brings constants into the caches
            found.append((self.plan.kernels[launch.kernel].name, self.gpu.seconds(run) / repeat))
        return found

    def _bucket(self, batch: int) -> Bucket:
        if batch not in self._buckets:
            what, sizes = f"there are no kernels for a batch of {batch}", ", ".join(map(str, self.batches))
            raise UsageError(what, hint=f"this artifact was compiled for {sizes}")
        return self._buckets[batch]

    def _repeat(self, launch: Launch, times: int) -> None:
        for _ in range(times):
            self._launch(launch, alone=True)

    def close(self) -> None:
        """Give the device's memory back; nothing may be called afterwards."""
        self.gpu.close()

    def _enter(self, bucket: Bucket, image: np.ndarray) -> None:
        staged = self._image[: bucket.input[1]]
        np.copyto(staged, np.ascontiguousarray(image).reshape(-1))
        self.gpu.copy_in(self._arena + bucket.input[0], staged)

    def _leave(self, bucket: Bucket) -> list[np.ndarray]:
        ends = list(accumulate(size for _, size in bucket.given))
        staged = [self._result[end - size : end] for end, (_, size) in zip(ends, bucket.given, strict=True)]
        for part, (offset, _) in zip(staged, bucket.given, strict=True):
            self.gpu.copy_out(part, self._arena + offset)
        self.gpu.synchronize()
        return [part.view(np.float32).reshape(bucket.batch, -1).copy() for part in staged]

    def _launch_all(self, bucket: Bucket) -> None:
        for launch in bucket.launches:
            self._launch(launch)

    def _launch(self, launch: Launch, *, alone: bool = False) -> None:
        """Queue a launch; `alone`: it never starts before the one before it has ended."""
        addresses = [self._params[a[1]] if a[0] == "param" else self._arena + a[1] for a in launch.args]
        kernel, function = self.plan.kernels[launch.kernel], self._functions[launch.kernel]
        self.gpu.launch(function, launch.grid, launch.block, kernel.shared_bytes, addresses, kernel.early and not alone)

    def _trace(self, bucket: Bucket, image: np.ndarray) -> list[np.ndarray]:
        """Every value, copied right after the launch that finishes it: later ones may take its memory."""
        values = {value.name: value for value in bucket.values}
        found: dict[str, np.ndarray] = {}
        self._enter(bucket, image)
        for launch in bucket.launches:
            self._launch(launch)
            for name in launch.writes:
                value = values[name]
                found[name] = unpack_value(self.gpu.download(self._arena + value.offset, value.size), value)
        return [found[value.name] for value in bucket.values]


def check_gpu(plan: Plan, gpu: Gpu) -> None:
    """Refuse a device that cannot run a plan.

    Raises:
        UnsupportedError: another architecture, or a driver that is older than the binaries.
    """
    if gpu.arch != plan.arch:
        what = f"it was compiled for {plan.arch}, this GPU is {gpu.arch}"
        raise UnsupportedError(what, hint=f"compile for a target with {gpu.arch} (lampq targets lists them)")
    if gpu.cuda[0] < plan.major:
        what = f"it was compiled by CUDA {plan.major}, this driver serves CUDA {gpu.cuda[0]}.{gpu.cuda[1]}"
        raise UnsupportedError(what, hint="compile for this JetPack level or CUDA version (NAME@jp5, NAME@cuda12), or update")


def unpack_value(raw: np.ndarray, value: Value) -> np.ndarray:
    """A value's bytes [rows * row_bytes] as an array of its shape; int4 codes become int8."""
    rows = raw.reshape(value.rows, value.row_bytes)[:, : value.used_row_bytes]
    if value.dtype != "int4":
        return np.ascontiguousarray(rows).view(value.dtype).reshape(value.shape)
    nibbles = np.stack([rows << 4, rows], -1).view(np.int8) >> 4  # the arithmetic shift extends the sign
    return nibbles.reshape(value.rows, -1)[:, : value.shape[-1]].reshape(value.shape)


def _upload(gpu: Gpu, params: Sequence[np.ndarray]) -> list[int]:
    """Addresses of the parameters, each in an allocation of its own, so that a device can tell when a kernel leaves one."""
    addresses = [gpu.allocate(array.nbytes) for array in params]
    for address, array in zip(addresses, params, strict=True):
        gpu.upload(address, np.ascontiguousarray(array))
    return addresses
