"""Loads an artifact on host or board and runs it; imports neither torch nor the compiler."""

from lampq_tvm.runtime.runner import Runner, load

__all__ = ["Runner", "load"]
