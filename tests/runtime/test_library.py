"""Compiled code is loaded from memory, else from the cache; where neither has room, one line says so."""

import resource

import pytest

from lampq_tvm.errors import OutputError
from lampq_tvm.runtime.library import load_library
from lampq_tvm.scratch import scratch_dir


def test_a_library_that_fits_nowhere_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path))
    scratch_dir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # files in memory included
    try:
        with pytest.raises(OutputError, match="cannot write: File too large"):
            load_library(bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
