"""The stub driver: compiled once, forgotten between tests."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lampq_tvm.device.cross import cross_compiler
from lampq_tvm.targets.machine import local_arch
from tests.runtime.cuda.artifact import compiled


@dataclass(frozen=True)
class Call:
    """A recorded driver call."""

    entry: str
    arguments: tuple[str, ...]


class Stub:
    """The stub library, and what it recorded."""

    def __init__(self, path: str) -> None:
        self.path, self.library = path, ctypes.CDLL(path)
        self.library.stub_log.restype = ctypes.c_char_p
        self.library.stub_used.restype = ctypes.c_size_t

    def reset(self) -> None:
        self.library.stub_reset()
        for name, kernel in compiled().items():
            self.library.stub_function(name.encode(), parameters(kernel.ptx))

    def fail(self, entry: str, code: int) -> None:
        self.library.stub_fail(entry.encode(), code)

    def calls(self, *entries: str) -> list[Call]:
        """Everything recorded so far, or only some entries."""
        rows = (line.split() for line in self.library.stub_log().decode().splitlines())
        return [Call(row[0], tuple(row[1:])) for row in rows if not entries or row[0] in entries]

    def clear(self) -> None:
        self.library.stub_clear()

    @property
    def used_bytes(self) -> int:
        return self.library.stub_used()


def parameters(ptx: str) -> int:
    """How many parameters the kernel of a PTX module has: what its compiler made of the text."""
    return len(re.findall(r"^\s*\.param \.u64", ptx.partition("\n{")[0], flags=re.MULTILINE))


@pytest.fixture(scope="session")
def built_stub(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("stub") / "libcuda.so.1"
    source = Path(__file__).with_name("libcuda.c")
    compiler = shutil.which("cc") or cross_compiler(local_arch())
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(source)], check=True, capture_output=True)
    return str(path)


@pytest.fixture
def stub(built_stub: str) -> Stub:
    stub = Stub(built_stub)
    stub.reset()
    return stub
