"""A torch module or a `.pt2` file becomes an exported ATen program."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.files import reason
from lampq_tvm.frontend.containers import check_stored
from lampq_tvm.quiet import quiet


def export_module(module: nn.Module, shape: tuple[int, ...], where: str) -> ExportedProgram:
    """Export for one fixed input shape, in evaluation mode and without gradients.

    Args:
        module: takes one image batch.
        shape: of the input, [B, C, H, W].
        where: the model's name, for errors.

    Raises:
        UnsupportedError: torch.export cannot trace the module.
    """
    module.eval().requires_grad_(False)
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, (torch.zeros(shape),), strict=False)
    except UnsupportedError:
        raise
    except Exception as e:  # torch.export raises whatever the traced module raises
        raise UnsupportedError(f"torch.export cannot trace the model ({reason(e)})", where=where) from e


def load_pt2(path: Path, trust_model: bool) -> ExportedProgram:
    """Load a program that `torch.export.save` wrote.

    Raises:
        UsageError: the file is missing, broken, or not trusted.
    """
    if not path.is_file():
        raise UsageError("the model file does not exist", where=str(path), hint="check the path")
    if not trust_model:
        what = "a .pt2 file can hold pickled code, which loading it would run"
        raise UsageError(what, where=str(path), hint="add --trust-model if you trust whoever made it")
    try:
        with zipfile.ZipFile(path) as archive:
            check_stored(path, archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        what = "not a .pt2 file, or it is cut short"
        raise UsageError(what, where=str(path), hint="write it with torch.export.save") from None
    try:
        with quiet():
            return torch.export.load(path)
    except Exception as e:  # the loader raises many kinds of errors on damaged archives
        raise UsageError(f"cannot read the .pt2 file ({reason(e)})", where=str(path)) from e


def input_shape(program: ExportedProgram, where: str) -> tuple[int, int, int, int]:
    """Shape [B, C, H, W] of the program's only input; a symbolic batch counts as the one it was traced with.

    Raises:
        UnsupportedError: there is not exactly one input of four axes, or height and width are not fixed.
    """
    names = set(program.graph_signature.user_inputs)
    inputs = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in names]
    if len(inputs) != 1 or getattr(inputs[0], "ndim", 0) != 4:
        raise UnsupportedError("the model does not take exactly one image batch [B, C, H, W]", where=where)
    if not all(isinstance(size, int) for size in inputs[0].shape[1:]):
        raise UnsupportedError("the image size is not fixed", where=where, hint="export with fixed height and width")
    batch = inputs[0].shape[0]
    batch = batch if isinstance(batch, int) else batch.node.hint or 2
    channels, height, width = inputs[0].shape[1:]
    return int(batch), channels, height, width
