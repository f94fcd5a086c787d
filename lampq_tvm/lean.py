"""A process of our own that only runs artifacts or kernels, kept as small as on a board."""

from __future__ import annotations

import sys


def leave_torch_out() -> None:
    """Make `import torch` fail in this process, as on a board: TVM imports it wherever it is installed.

    Without it TVM is there after one second instead of four, in 200 MB instead of 900. Never for a process that is somebody
    else's: what it does with torch is its own affair.
    """
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
