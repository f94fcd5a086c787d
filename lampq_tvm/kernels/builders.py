"""Threads build Relax modules one after the other: TVM keeps the builders of all threads in one stack."""

from __future__ import annotations

import threading

BUILDING = threading.Lock()
