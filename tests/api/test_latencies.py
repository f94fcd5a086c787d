"""Latency tables of the cache."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from lampq_tvm.api.latencies import measured_table
from lampq_tvm.api.options import Options
from lampq_tvm.api.stages import Stages
from lampq_tvm.device.kinds import find_device
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.stage_cache import Cache, S

ARGS = {"img_size": 16, "patch_size": 8, "in_chans": 1, "num_classes": 4, "embed_dim": 16, "depth": 1, "num_heads": 1}
FEW = {"mean": (0.5,), "std": (0.5,), "calib_images": 4, "sens_images": 4}
TABLE = LatencyTable(target="host", device="local", threads=1, layers=(), fixed={})


class Finished(Cache):
    """A cache where the table that is asked for lies already."""

    def file(self, folder: Path, file: str, kind: type[S], compute: Callable[[], S]) -> S:
        if kind is LatencyTable:
            TABLE.save(folder / file)
        return super().file(folder, file, kind, compute)


def test_a_finished_table_waits_for_nobody(tmp_path, monkeypatch, capsys):
    """While something else is timed on this machine, such as hours of tuning."""
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path))
    stages = Stages(Options("vit_tiny_patch16_224", model_args=ARGS, **FEW))
    stages.cache = Finished(tmp_path)
    assert stages.calibration_key
    found = []
    with find_device().alone():
        asking = threading.Thread(target=lambda: found.append(measured_table(stages)), daemon=True)
        asking.start()
        asking.join(30)
        assert found == [TABLE]
    assert "waiting" not in capsys.readouterr().err
