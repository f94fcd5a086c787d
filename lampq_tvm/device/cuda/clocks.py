"""The clocks that a GPU runs at, read from nvidia-smi or from a Jetson's kernel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

DEVFREQ = "sys/class/devfreq"  # a Jetson's GPU lies there as 17000000.gpu, gpu-gpc-0 or by its chip's name
GPU_NAMES = ("gpu", "gv11b", "ga10b", "gp10b", "gm20b")
EMC = "sys/kernel/debug/bpmp/debug/clk/emc/rate"  # a Jetson's memory clock; only root may look
QUERY = "clocks.sm,clocks.max.sm,clocks.mem"


def read_clocks(root: Path = Path("/")) -> dict[str, Any] | None:
    """`sm_mhz`, `max_sm_mhz` and `memory_mhz` (None where it cannot be read) as they are now, and their `source`.

    Read it right after a load: an idle GPU lowers its clocks. None where neither source is readable.
    """
    return _sysfs(root) or _nvidia_smi()


def _sysfs(root: Path) -> dict[str, Any] | None:
    folders = sorted((root / DEVFREQ).glob("*")) if (root / DEVFREQ).is_dir() else []
    for folder in folders:
        if any(name in folder.name for name in GPU_NAMES):
            now, most = _mhz(folder / "cur_freq"), _mhz(folder / "max_freq")
            if now is not None:
                return {"sm_mhz": now, "max_sm_mhz": most, "memory_mhz": _mhz(root / EMC), "source": f"/{DEVFREQ}"}
    return None


def _mhz(path: Path) -> float | None:
    try:
        return int(path.read_text()) / 1e6
    except (OSError, ValueError):
        return None


def _nvidia_smi() -> dict[str, Any] | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        now, most, memory = (_number(cell) for cell in found.split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if now is None:
        return None
    return {"sm_mhz": now, "max_sm_mhz": most, "memory_mhz": memory, "source": "nvidia-smi"}


def _number(cell: str) -> float | None:
    """A cell of nvidia-smi's; a Jetson's says [N/A]."""
    try:
        return float(cell)
    except ValueError:
        return None
