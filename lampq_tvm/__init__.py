"""Mixed-precision Vision Transformers for Jetson and other Arm boards.

>>> import lampq_tvm
>>> lampq_tvm.compile("deit_tiny_patch16_224", output="deit.lampq", pretrained=True, data="imagenet/val")  # doctest: +SKIP
>>> logits = lampq_tvm.load("deit.lampq")(images)  # doctest: +SKIP

`tune`, `targets` and `recipes` are reached as `lampq_tvm.api.tune`, `lampq_tvm.api.targets` and `lampq_tvm.api.recipes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampq_tvm.api import bench as bench
    from lampq_tvm.api import compile as compile
    from lampq_tvm.api import debug as debug
    from lampq_tvm.api import doctor as doctor
    from lampq_tvm.api import eval as eval
    from lampq_tvm.api import inspect as inspect
    from lampq_tvm.api import load as load
    from lampq_tvm.api import measure as measure
    from lampq_tvm.api import plan as plan
    from lampq_tvm.api import run as run
    from lampq_tvm.api.caching import cache as cache

__version__ = "0.1.0"
VERBS = ("bench", "cache", "compile", "debug", "doctor", "eval", "inspect", "load", "measure", "plan", "run")


def __getattr__(name: str) -> Any:
    """A verb's function, imported when it is first used."""
    if name not in VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lampq_tvm import api

    return api.verb(name)
