"""One function per verb of the command line; each imports what it needs when it is called.

`compile`, `plan`, `sensitivity`, `measure`, `tune` make things; `load`, `run`, `eval`, `debug`, `bench`, `inspect` use an
artifact; `targets`, `recipes` and `doctor` look around, `cache` tidies up.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampq_tvm.api.compiling import compile as compile
    from lampq_tvm.api.debugging import debug as debug
    from lampq_tvm.api.evaluating import eval as eval
    from lampq_tvm.api.health import doctor as doctor
    from lampq_tvm.api.looking import inspect as inspect
    from lampq_tvm.api.looking import targets as targets
    from lampq_tvm.api.measuring import measure as measure
    from lampq_tvm.api.measuring import tune as tune
    from lampq_tvm.api.methods import recipes as recipes
    from lampq_tvm.api.planning import plan as plan
    from lampq_tvm.api.running import bench as bench
    from lampq_tvm.api.running import load as load
    from lampq_tvm.api.running import run as run
    from lampq_tvm.api.sensing import sensitivity as sensitivity

MODULES = {
    "cache": "caching",
    "compile": "compiling",
    "plan": "planning",
    "sensitivity": "sensing",
    "measure": "measuring",
    "tune": "measuring",
    "load": "running",
    "run": "running",
    "eval": "evaluating",
    "debug": "debugging",
    "bench": "running",
    "inspect": "looking",
    "targets": "looking",
    "recipes": "methods",
    "doctor": "health",
}


def __getattr__(name: str) -> Any:
    """A verb's function."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return verb(name)


def verb(name: str) -> Any:
    """A verb's function."""
    return getattr(importlib.import_module(f"lampq_tvm.api.{MODULES[name]}"), name)
