"""PTX run by NumPy, lane by lane: kernels are proved, and artifacts checked, without a GPU.

`parse` reads what NVRTC wrote, `launch` runs a kernel over a grid in a `Memory`, `unknown` names instructions without a
meaning. `meanings/` is the library of instructions.
"""

from __future__ import annotations

from lampq_tvm.ptx.coverage import unknown
from lampq_tvm.ptx.errors import KernelError, UnknownInstructionError
from lampq_tvm.ptx.memory import Memory
from lampq_tvm.ptx.module import Module
from lampq_tvm.ptx.parse import parse
from lampq_tvm.ptx.run import launch

__all__ = ["KernelError", "Memory", "Module", "UnknownInstructionError", "launch", "parse", "unknown"]
