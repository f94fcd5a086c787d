"""Loads an artifact and runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from lampq_tvm.build.artifact import Artifact, read_artifact
from lampq_tvm.errors import CorruptError, DeviceError, UnsupportedError, UsageError
from lampq_tvm.runtime.params import kernel_params
from lampq_tvm.targets import check_runs_here


class Runner:
    """A loaded artifact.

    Attributes:
        manifest: the artifact's manifest.
        batch: images per call of the compiled function; other numbers are split and the last part is padded.
    """

    def __init__(self, artifact: Artifact, device: str = "local", threads: int | None = None) -> None:
        self.manifest: dict[str, Any] = artifact.manifest
        self.batch: int = self.manifest["batch"]
        spec = self.manifest["input"]
        self.image_shape = (spec["channels"], spec["height"], spec["width"])
        self._scale = np.array([255 * s for s in spec["std"]], np.float32)
        self._shift = np.array([255 * m for m in spec["mean"]], np.float32)
        try:
            params = list(kernel_params(self.manifest["params"], load_tensors(artifact.sections["payload.safetensors"])))
        except (SafetensorError, KeyError, ValueError) as e:
            raise CorruptError(f"its payload does not match its manifest ({e})") from e
        self._session = _session(device, self.manifest)
        from lampq_tvm.runtime.machine import Machine

        self._machine = Machine(artifact.sections["lib.so"], params, self._session, threads)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Output float32 [N, classes] for images [N, C, H, W], uint8 pixels or normalized float32."""
        return np.concatenate([self._machine.call("main", part)[0][:n] for part, n in self._parts(images)])

    def trace(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every operator's value for images [N, C, H, W]: int8 codes or float32, [N, ...] by operator name."""
        values = self.manifest["values"]
        found: dict[str, list[np.ndarray]] = {value["name"]: [] for value in values}
        for part, n in self._parts(images):
            for value, array in zip(values, self._machine.call("trace", part, len(values)), strict=True):
                found[value["name"]].append(array.reshape(value["shape"])[:n])
        return {name: np.concatenate(arrays) for name, arrays in found.items()}

    def bench(self, repeat: int, warmup: int = 3) -> list[float]:
        """Milliseconds of `repeat` runs at the artifact's batch, after a warm-up, by the device's own timer."""
        image = np.full((self.batch, *self.image_shape), 128, np.uint8)
        return [1e3 * s for s in self._machine.seconds(image, warmup + repeat)[warmup:]]

    @property
    def emulated(self) -> bool:
        """Whether a board is played: its times mean nothing."""
        return self._session is not None and bool(self._session.emulated)

    def close(self) -> None:
        """End the session with a board, which serves one at a time; nothing to do on this machine."""
        if self._session is not None:
            self._session.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _parts(self, images: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        if images.ndim != 4 or images.shape[1:] != self.image_shape or images.dtype not in (np.uint8, np.float32):
            what = f"images are {images.dtype} {list(images.shape)}"
            want = ", ".join(map(str, self.image_shape))
            raise UsageError(what, hint=f"this model takes float32 (normalized) or uint8 [N, {want}]")
        if not len(images) or (images.dtype == np.float32 and not np.isfinite(images).all()):
            what = "images hold NaN or infinity" if len(images) else "there are no images"
            raise UsageError(what, hint="give one image or more, of finite numbers")
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            n = len(part)
            if n < self.batch:
                part = np.concatenate([part, np.repeat(part[-1:], self.batch - n, 0)])
            yield (part if part.dtype == np.uint8 else self._machine.pixels(part, self._scale, self._shift)), n


def _session(device: str, manifest: dict[str, Any]) -> Any:
    if device == "local":
        check_runs_here(manifest["arch"], tuple(manifest["features"]))
        return None
    from lampq_tvm.device.rpc import connect

    return connect(device, manifest)


def load(path: Path | str, device: str = "local", threads: int | None = None) -> Runner:
    """Load an artifact for running on a device.

    Args:
        path: the `.lampq` file.
        device: `local`, `emulated` or `rpc://host:port`.
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
