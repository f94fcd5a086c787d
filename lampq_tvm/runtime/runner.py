"""Loads an artifact and runs it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lampq_tvm.artifact.container import HINT, Artifact, read_artifact
from lampq_tvm.device.kinds import find_device
from lampq_tvm.errors import CorruptError, DeviceError, LampqError, UnsupportedError, UsageError, is_bug
from lampq_tvm.files import reason
from lampq_tvm.progress import note
from lampq_tvm.runtime.batches import split
from lampq_tvm.runtime.params import artifact_params
from lampq_tvm.runtime.plausible import doubt
from lampq_tvm.runtime.sharing import Turn

if TYPE_CHECKING:
    from lampq_tvm.device.cuda.gpu import Gpu
    from lampq_tvm.device.kind import Device
    from lampq_tvm.runtime.cuda.executor import Executor
    from lampq_tvm.runtime.machine import Machine


class Runner:
    """A loaded artifact. Threads may share it: their calls run one after another, each on all of its cores.

    A forked child may go on with its parent's, but for a connection to a board and a GPU, which no fork survives.

    Attributes:
        manifest: the artifact's manifest.
        device: where it runs.
        outputs: names of the values that a call gives.
        batch: images per call of `bench`; other numbers are split into the sizes that were compiled, the last part padded.
        gpu: what a CUDA artifact runs on, None for other artifacts.
    """

    def __init__(
        self, artifact: Artifact, device: str | None = None, threads: int | None = None, gpu: Gpu | None = None
    ) -> None:
        """Load an artifact on a device, this machine where None; `gpu` is for a CUDA artifact, the device's where None."""
        self.manifest: dict[str, Any] = artifact.manifest
        self.batch: int = self.manifest["batch"]
        self.gpu: Gpu | None = None
        self._batches: tuple[int, ...] = (self.batch,)
        spec = self.manifest["input"]
        self.image_shape = (spec["channels"], spec["height"], spec["width"])
        self._scale = np.array([255 * s for s in spec["std"]], np.float32)
        self._shift = np.array([255 * m for m in spec["mean"]], np.float32)
        self._warned = False
        shapes = {value["name"]: tuple(value["shape"][1:]) for value in self.manifest["values"]}
        self.outputs: tuple[str, ...] = tuple(self.manifest.get("outputs", [self.manifest["values"][-1]["name"]]))
        self._shapes = [shapes[name] for name in self.outputs]
        params = artifact_params(artifact)
        self._turn, self._process = Turn(), os.getpid()
        self._machine: Machine | Executor | None
        self.device = find_device(device)
        if self.manifest["arch"] == "cuda":
            self._session, self._machine = None, (executor := _executor(artifact, params, self.device, gpu))
            self.gpu, self._batches = executor.gpu, executor.batches
        else:
            from lampq_tvm.runtime.machine import Machine

            self._session = self.device.open(self.manifest)
            with matching():
                self._machine = Machine(artifact.sections["lib.so"], params, self._session, threads)

    def __call__(self, images: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Output float32 [N, classes] for images [N, C, H, W], uint8 pixels or normalized float32.

        A model without a classifier gives features [N, ...], one with several outputs a tuple of them, in the order of
        `outputs`.

        Raises:
            UsageError: the images are not of this model's shape and type, or the model was closed.
        """
        found: list[list[np.ndarray]] = []
        for part, n in self._parts(images):
            arrays = self._call("main", part, len(self.outputs))
            with matching():
                shaped = [array.reshape(len(part), *shape) for array, shape in zip(arrays, self._shapes, strict=True)]
            found.append([array[:n] for array in shaped])
        whole = tuple(np.concatenate(column) for column in zip(*found, strict=True))
        return whole[0] if len(whole) == 1 else whole

    def one(self, images: np.ndarray) -> np.ndarray:
        """The same as one array: several outputs as rows of their numbers, [N, numbers]."""
        found = self(images)
        return found if isinstance(found, np.ndarray) else np.concatenate([x.reshape(len(x), -1) for x in found], 1)

    def trace(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every operator's value for images [N, C, H, W]: int8 codes or float32, [N, ...] by operator name."""
        values = self.manifest["values"]
        found: dict[str, list[np.ndarray]] = {value["name"]: [] for value in values}
        for part, n in self._parts(images):
            arrays = self._call("trace", part, len(values))
            with matching():
                for value, array in zip(values, arrays, strict=True):
                    found[value["name"]].append(array.reshape(len(part), *value["shape"][1:])[:n])
        return {name: np.concatenate(arrays) for name, arrays in found.items()}

    def _call(self, function: str, part: np.ndarray, outputs: int = 1) -> list[np.ndarray]:
        """The machine's outputs for one of its batches, pixels or normalized."""
        with self._using() as machine:
            pixels = part if part.dtype == np.uint8 else machine.pixels(part, self._scale, self._shift)
            return machine.call(function, pixels, outputs)

    @property
    def _lives_here(self) -> bool:
        """False in a forked child for what no fork survives."""
        return self._process == os.getpid() or (self._session is None and self.gpu is None)

    @contextlib.contextmanager
    def _using(self) -> Iterator[Machine | Executor]:
        """What runs it, for this thread alone."""
        with self._turn, matching():
            if not self._lives_here:
                what = "the parent process loaded this model on a board or a GPU, which no fork survives"
                raise UsageError(what, hint="load it in the child; children that use a GPU must be started anew (spawn)")
            if self._machine is None:
                raise UsageError("this model was closed", hint="load it again")
            yield self._machine

    def bench(self, repeat: int, warmup: int = 3, batch: int | None = None) -> list[float]:
        """Milliseconds of `repeat` runs after a warm-up, by the device's own timer.

        Args:
            batch: one of the sizes that were compiled; the artifact's largest where None.

        Raises:
            DeviceError: a board is played, whose times mean nothing.
        """
        if self._session is not None:
            self._session.check_times()
        image = self._noise(batch or self.batch)
        with self._using() as machine:
            return [1e3 * s for s in machine.seconds(image, warmup + repeat)[warmup:]]

    def bench_end_to_end(self, repeat: int, warmup: int = 3) -> list[float]:
        """Milliseconds of `repeat` whole calls at the artifact's batch, copies included, by this machine's clock."""
        image = self._noise(self.batch)
        times = []
        for _ in range(warmup + repeat):
            start = time.perf_counter()
            self._call("main", image)
            times.append(1e3 * (time.perf_counter() - start))
        return times[warmup:]

    def launch_ms(self, batch: int, repeat: int = 20) -> list[tuple[str, float]]:
        """(kernel, milliseconds) of each launch of a CUDA artifact at a batch size that was compiled, each alone.

        Raises:
            UnsupportedError: the artifact is for a CPU.
            UsageError: the batch size was not compiled.
        """
        if self.gpu is None:
            raise UnsupportedError("kernels are timed one by one on a GPU only", hint="use lampq measure")
        with self._using() as machine:
            return [(name, 1e3 * s) for name, s in cast("Executor", machine).launch_seconds(batch, repeat)]

    def clocks(self) -> dict[str, Any] | None:
        """The clocks that it runs at, right after a run; None where they cannot be read."""
        return self.device.clocks(self._session) if self.gpu is None else self.gpu.clocks()

    def close(self) -> None:
        """Give back all that was mapped, the session with a board, a GPU's memory; only this may be called afterwards."""
        with self._turn:
            machine, self._machine = self._machine, None
            if machine is None or not self._lives_here:
                return
            if self._session is not None:
                self._session.close()
            machine.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _noise(self, batch: int) -> np.ndarray:
        """Random pixels: on a GPU equal ones take less power, hence less time, than those of an image."""
        return np.random.default_rng(0).integers(0, 256, (batch, *self.image_shape), np.uint8)

    def _parts(self, images: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        if images.ndim != 4 or images.shape[1:] != self.image_shape or images.dtype not in (np.uint8, np.float32):
            what = f"images are {images.dtype} {list(images.shape)}"
            want = ", ".join(map(str, self.image_shape))
            raise UsageError(what, hint=f"this model takes float32 (normalized) or uint8 [N, {want}]")
        if not len(images) or (images.dtype == np.float32 and not np.isfinite(images).all()):
            what = "images hold NaN or infinity" if len(images) else "there are no images"
            raise UsageError(what, hint="give one image or more, of finite numbers")
        self._look(images)
        start = 0
        for size in split(len(images), self._batches):
            part = images[start : start + size]
            start, n = start + size, len(part)
            if n < size:
                part = np.concatenate([part, np.repeat(part[-1:], size - n, 0)])
            yield part, n

    def _look(self, images: np.ndarray) -> None:
        """Warn once of float images that cannot be what the model takes."""
        if self._warned or images.dtype == np.uint8:
            return
        odd = doubt(images, self._scale, self._shift)
        if odd is not None:
            self._warned = True
            note(f"warning: {odd}")


@contextlib.contextmanager
def matching() -> Iterator[None]:
    """Raise CorruptError for whatever TVM's own checks of arguments raise, where code is not what its manifest says."""
    try:
        yield
    except (LampqError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as e:
        if is_bug(e):
            raise
        raise CorruptError(f"its code does not match its manifest ({reason(e)})", hint=HINT) from e


def _executor(artifact: Artifact, params: list[np.ndarray], device: Device, gpu: Gpu | None) -> Executor:
    """A device's GPU, or the given one, with an artifact's kernels."""
    from lampq_tvm.runtime.cuda.executor import Executor

    return Executor(artifact.manifest, artifact.sections["cubins"], params, device, gpu)


def load(path: Path | str, device: str | None = None, threads: int | None = None) -> Runner:
    """Load an artifact for running on a device.

    Args:
        path: the `.lampq` file.
        device: as `find_device` reads it; this machine where None.
        threads: cores to use; all where None.

    Raises:
        CorruptError: a byte of the file was changed.
        UnsupportedError: it is for another architecture, or this CPU lacks a feature.
        DeviceError: the device cannot be reached.
    """
    try:
        return Runner(read_artifact(path), device, threads)
    except (CorruptError, UnsupportedError, DeviceError) as e:
        e.where = e.where or str(path)
        raise
