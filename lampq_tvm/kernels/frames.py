"""Quick parsing of TVMScript.

The parser takes the whole stack with source lines, for every function and every call of a `T.inline` one, and needs none of
the lines here. Looking them up scans all loaded modules: half of the time of a whole compile where torch is loaded.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def quick_frames(build: Callable[P, R]) -> Callable[P, R]:
    """A builder of kernels during which `inspect` leaves out the frames' source lines."""

    @functools.wraps(build)
    def quick(*args: P.args, **kwargs: P.kwargs) -> R:
        whole = inspect.getouterframes
        inspect.getouterframes = _without_lines
        try:
            return build(*args, **kwargs)
        finally:
            inspect.getouterframes = whole

    return quick


def _without_lines(frame: FrameType | None, context: int = 1) -> list[inspect.FrameInfo]:
    found = []
    while frame is not None:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found
