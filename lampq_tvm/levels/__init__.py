"""What is compiled for, as data: CPU architectures and levels, GPU architectures, CUDA's compilers; loads no TVM, no numpy.

A CPU level is a file of `cpu/` and one of `kernels/isa/` that writes its instructions; a GPU architecture is a row of `gpu.py`.
"""

from lampq_tvm.levels.arch import CPU_ARCHES, CpuArch
from lampq_tvm.levels.gpu import GPU_ARCHES, GpuArch
from lampq_tvm.levels.level import CPU_LEVELS, CpuLevel, best_level, levels_of
from lampq_tvm.levels.toolkits import OLDEST_CUDA, TOOLKITS, Toolkit

__all__ = [
    "CPU_ARCHES",
    "CPU_LEVELS",
    "GPU_ARCHES",
    "OLDEST_CUDA",
    "TOOLKITS",
    "CpuArch",
    "CpuLevel",
    "GpuArch",
    "Toolkit",
    "best_level",
    "levels_of",
]
