"""Recognition of products with weights: the patch convolution and linear layers in all their spellings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from lampq_tvm.frontend.abstract import KNOWN, Elements
from lampq_tvm.frontend.rules import RULES
from lampq_tvm.frontend.rules.elementwise import add, multiply, read
from lampq_tvm.frontend.trace import Trace
from lampq_tvm.network.model import Linear


@RULES.register("linear")
def linear(trace: Trace, x: Any, weight: Any, bias: Tensor | None = None) -> Elements:
    """x W^T + b with constant W [N, K]."""
    return _product(trace, x, weight, bias, trace.node.args[1])


def matmul_constant(trace: Trace, x: Any, weight: Any) -> Elements:
    """x W with constant W [K, N], or [B, K, N] that repeats it for every image."""
    if isinstance(weight, Tensor) and weight.ndim == 3 and torch.equal(weight, weight[:1].expand_as(weight)):
        weight = weight[0]
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        trace.refuse("a matrix product with a constant on the left or of more than two axes")
    return _product(trace, x, weight.t(), None, trace.node.args[1])


@RULES.register("addmm")
def addmm(trace: Trace, bias: Tensor, x: Any, weight: Any, beta: float = 1, alpha: float = 1) -> Any:
    """beta * b + alpha * x W with constant W [K, N]."""
    if not isinstance(weight, Tensor):
        trace.refuse("a matrix product of two computed values outside attention")
    product = _product(trace, x, weight.t(), None, trace.node.args[2])
    return add(trace, multiply(trace, product, alpha), bias * beta)


def _product(trace: Trace, x: Any, weight: Any, bias: Tensor | None, node: Any) -> Elements:
    if not isinstance(x, KNOWN) or not isinstance(weight, Tensor):
        trace.refuse("a linear layer whose weights are computed from the image")
    source = read(trace, x)
    name = trace.weight_name(node, "linear") if isinstance(node, fx.Node) else "linear"
    zeros = torch.zeros(len(weight))
    shape = (*source.shape[:-1], len(weight))
    made = trace.emit(Linear(name, (source.name,), ""), shape, weight=weight, bias=zeros if bias is None else bias)
    outer = (*x.shape[:-1], len(weight)) if isinstance(x, KNOWN) and hasattr(x, "shape") else shape
    moved: Elements = made.elements.moved(lambda t: t.reshape(outer))
    return moved


@RULES.register("conv2d", "convolution")
def convolution(
    trace: Trace,
    x: Any,
    weight: Any,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Any = 0,
    dilation: Sequence[int] = (1,),
    *more: Any,
) -> Elements:
    """The patch embedding: a convolution of the image whose stride is its kernel."""
    groups = more[-1] if more else 1
    ordinary = _all(padding, 0) and _all(dilation, 1) and groups == 1 and not any(v is True for v in more)
    if not isinstance(x, Elements) or trace.whole(x) is not trace.image or trace.patch is not None:
        trace.refuse("a convolution other than the patch embedding")
    kernel = tuple(weight.shape[2:])
    if not ordinary or len(kernel) != 2 or kernel[0] != kernel[1] or not _all(stride, kernel[0]):
        trace.refuse("a patch embedding whose patches overlap, are padded or are not square")
    batch, _, height, width = x.shape
    if height % kernel[0] or width % kernel[0]:
        trace.refuse(f"an image of {height}x{width} with patches of {kernel[0]}")
    node = trace.node.args[1]
    name = trace.weight_name(node, "patch_embed") if isinstance(node, fx.Node) else "patch_embed"
    grid = trace.number(None, (batch, len(weight), height // kernel[0], width // kernel[0]))
    trace.patch = (grid, name, weight, torch.zeros(len(weight)) if bias is None else bias)
    return grid.elements


def _all(values: Any, wanted: int) -> bool:
    if isinstance(values, str):
        return values == "valid" and wanted == 0
    return all(v == wanted for v in ([values] if isinstance(values, int) else values))
