"""A lowered module becomes one artifact file for a target."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # The runtime reads artifacts without the compiler.
    if name == "build":
        from lampq_tvm.build.compiler import build

        return build
    raise AttributeError(name)
