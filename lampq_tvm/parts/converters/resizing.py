"""Resizing with torch's own places of the nearest, and its own coefficients of filters that reach further: two products."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from tvm import relax
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import emit, lengths


def resize(node: fx.Node, importer: Any) -> Expr:
    """Rows and columns of [.., H, W] as sums of rows and columns: the coefficients are what becomes of single ones."""
    x = importer.env[node.args[0]]
    target: Any = node.target
    size, corners, *scales = node.args[1:]
    (high, wide), (down, across) = lengths(x)[2:], node.meta["val"].shape[2:]
    rows = target(torch.eye(high)[None, None], size and [down, high], corners, *_scales(scales, 0))[0, 0].T.contiguous()
    columns = target(torch.eye(wide)[None, None], size and [wide, across], corners, *_scales(scales, 1))[0, 0]
    widened = emit(importer, relax.op.matmul(x, relax.const(columns.numpy())))
    turned = emit(importer, relax.op.permute_dims(widened, [0, 1, 3, 2]))
    both = emit(importer, relax.op.matmul(turned, relax.const(rows.numpy())))
    return emit(importer, relax.op.permute_dims(both, [0, 1, 3, 2]))


def nearest(node: fx.Node, importer: Any) -> Expr:
    """Rows and columns [.., H, W] by the places that torch takes them from."""
    x = importer.env[node.args[0]]
    target: Any = node.target
    size, *scales = node.args[1:]
    (high, wide), (down, across) = lengths(x)[2:], node.meta["val"].shape[2:]
    rows = target(torch.arange(high, dtype=torch.float32)[None, None, :, None], size and [down, 1], *_scales(scales, 0))
    columns = target(torch.arange(wide, dtype=torch.float32)[None, None, None, :], size and [1, across], *_scales(scales, 1))
    taken = x
    for axis, places in ((2, rows[0, 0, :, 0]), (3, columns[0, 0, 0, :])):
        taken = emit(importer, relax.op.take(taken, relax.const(places.long().numpy()), axis=axis))
    return taken


def _scales(given: list[Any], axis: int) -> list[Any]:
    """The factors for one axis where the other one stays: one argument of two numbers, or two arguments."""
    if len(given) == 1:
        return [given[0] and [given[0][i] if i == axis else 1.0 for i in (0, 1)]]
    return [given[axis] if i == axis and given else None for i in (0, 1)]


CONVERTERS = {
    "_upsample_nearest_exact2d.default": nearest,
    "_upsample_nearest_exact2d.vec": nearest,
    "_upsample_bicubic2d_aa.default": resize,
    "_upsample_bicubic2d_aa.vec": resize,
    "_upsample_bilinear2d_aa.default": resize,
    "_upsample_bilinear2d_aa.vec": resize,
    "upsample_bicubic2d.default": resize,
    "upsample_bicubic2d.vec": resize,
    "upsample_nearest2d.default": nearest,
    "upsample_nearest2d.vec": nearest,
}
