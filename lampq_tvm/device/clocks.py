"""The clocks that this machine's cores run at, as Linux's cpufreq says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CPUFREQ = "sys/devices/system/cpu"  # a folder cpuN/cpufreq a core; virtual machines have none


def read_cpu_clocks(root: Path = Path("/")) -> dict[str, Any] | None:
    """`cpu_mhz`, `max_cpu_mhz` of the fastest core as they are now, its `governor`, and their `source`.

    Read it right after a load: an idle core lowers its clock. None where it cannot be read.
    """
    found = []
    for folder in sorted((root / CPUFREQ).glob("cpu[0-9]*/cpufreq")):
        now, most = _mhz(folder / "scaling_cur_freq"), _mhz(folder / "cpuinfo_max_freq")
        if now is not None:
            found.append((now, most, _word(folder / "scaling_governor")))
    if not found:
        return None
    now, most, governor = max(found, key=lambda core: core[0])
    return {"cpu_mhz": now, "max_cpu_mhz": most, "governor": governor, "source": f"/{CPUFREQ}"}


def clock_mhz(clocks: dict[str, Any] | None) -> float | None:
    """The one figure that tables and records keep of a device's clocks: of the cores, or of a GPU's multiprocessors."""
    found = (clocks or {}).get("cpu_mhz", (clocks or {}).get("sm_mhz"))
    return float(found) if isinstance(found, int | float) and found > 0 else None


def _mhz(path: Path) -> float | None:
    """A file's kHz as MHz."""
    try:
        return int(path.read_text()) / 1e3
    except (OSError, ValueError):
        return None


def _word(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
