"""Operators that write into what others read (`y[:, 0] = 0`) become ones that give new values."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram


def functional(program: ExportedProgram) -> ExportedProgram:
    """The program without such operators; as it is where what is written into was made for that alone (`relu_`)."""
    if not any(_is_shared(node) for node in program.graph.nodes):
        return program
    made: ExportedProgram = program.run_decompositions({})
    return made


def _is_shared(node: fx.Node) -> bool:
    """Whether a node writes into the image, into a part of another value, or into one that another node reads."""
    written = node.args[0] if _schema(node) and _schema(node).is_mutable else None
    if not isinstance(written, fx.Node):
        return False
    return written.op == "placeholder" or len(written.users) > 1 or _is_view(written)


def _is_view(node: fx.Node) -> bool:
    """Whether a node's value lies in another one's memory."""
    source = node.args[0] if getattr(node.target, "__name__", "") == "getitem" else node
    returns = _schema(source).returns if isinstance(source, fx.Node) and _schema(source) else []
    return any(each.alias_info is not None and not each.alias_info.is_write for each in returns)


def _schema(node: fx.Node) -> Any:
    return node.target._schema if isinstance(node.target, torch._ops.OpOverload) else None
