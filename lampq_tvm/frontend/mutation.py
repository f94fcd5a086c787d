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
    """Whether a node writes into a value that is a part of another one, or that another node reads."""
    written = node.args[0] if _schema(node) and _schema(node).is_mutable else None
    return isinstance(written, fx.Node) and (len(written.users) > 1 or _is_view(written))


def _is_view(node: fx.Node) -> bool:
    """Whether a node's value lies in another one's memory."""
    returns = _schema(node).returns if _schema(node) else []
    return any(each.alias_info is not None and not each.alias_info.is_write for each in returns)


def _schema(node: fx.Node) -> Any:
    return node.target._schema if isinstance(node.target, torch._ops.OpOverload) else None
