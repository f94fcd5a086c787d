"""CUDA's compilers that can be had as wheels, by major: what compiles for a GPU depends on their version."""

from __future__ import annotations

from dataclasses import dataclass

OLDEST_CUDA = (11, 4)  # of a driver that the runtime speaks to


@dataclass(frozen=True)
class Toolkit:
    """A CUDA compiler.

    Attributes:
        version: of CUDA, the one that is pinned or the oldest of its major.
        library: NVRTC's file in the wheel.
        package: the wheel.
    """

    version: tuple[int, int]
    library: str
    package: str


TOOLKITS = {
    11: Toolkit((11, 8), "libnvrtc.so.11.2", "nvidia-cuda-nvrtc-cu11"),  # JetPack 5
    12: Toolkit((12, 6), "libnvrtc.so.12", "nvidia-cuda-nvrtc-cu12"),  # JetPack 6, and GPUs that CUDA 13 dropped
    13: Toolkit((13, 0), "libnvrtc.so.13", "nvidia-cuda-nvrtc"),  # JetPack 7
}
