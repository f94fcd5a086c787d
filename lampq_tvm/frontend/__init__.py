"""A model file or name becomes an ImportedModel: recognized operators and the layer table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampq_tvm.frontend.load import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    """Import torch and timm only when a model is really loaded (the runtime on a board has neither)."""
    if name != "load_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lampq_tvm.frontend.load import load_model

    return load_model
