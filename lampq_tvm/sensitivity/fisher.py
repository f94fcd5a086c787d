"""Per-image Fisher traces of every layer's weights, without storing a weight gradient per image.

tr(F_i) = E_s || dl_s / dW_i ||_F^2 (Lemma 2 of LampQ: the trace of the Hessian is close to it). For inputs x_t and
output gradients g_t of the tokens t of one image, dl/dW = sum_t g_t x_t^T, so
|| dl/dW ||_F^2 = sum_{t,t'} (g_t . g_t') (x_t . x_t'): two Gram matrices of tokens.
Squaring a batch's mean gradient would fall short by about the batch size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lampq_tvm.network.execute import run_float
from lampq_tvm.network.model import ImportedModel, Op
from lampq_tvm.network.op import FloatOp
from lampq_tvm.sensitivity.criteria import label_loss, sampled_loss
from lampq_tvm.sensitivity.pieces import Piece


def inputs_and_gradients(
    model: ImportedModel, images: Tensor, loss: Callable[[Tensor], Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """For every layer its input x [B, T, K] and the gradient g [B, T, N] of the loss by its output.

    The patch embedding's tokens are its patches (K in the order channel, row, column). Inputs of [B, K] have T = 1; the
    tokens of all windows count as those of one image.

    Args:
        loss: output [B, classes] -> scalar, a sum over images.
    """
    layers = {layer.name for layer in model.layers}
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def keep(op: Op, values: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep a layer's input and output."""
        if op.name in layers:
            inputs[op.name], outputs[op.name] = values[0].detach(), output

    # The image asks for gradients so that every output is part of the graph; weights need none.
    output = run_float(model, images.detach().requires_grad_(), observe=keep)
    gradients = torch.autograd.grad(loss(output), list(outputs.values()))
    return {name: _tokens(model.op(name), inputs[name], g.detach()) for name, g in zip(outputs, gradients, strict=True)}


def _tokens(op: Op, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Input and gradient as [B, T, K] and [B, T, N]."""
    assert isinstance(op, FloatOp)
    return op.columns(x), op.products(g)


def squared_norms(x: Tensor, g: Tensor) -> npt.NDArray[np.float64]:
    """|| sum_t g_t x_t^T ||_F^2 per image, [B]; by Gram matrices, or by the product itself where it is the smaller one.

    Args:
        x: [B, T, K]. g: [B, T, N].
    """
    tokens, k, n = x.shape[1], x.shape[2], g.shape[2]
    if tokens * (k + n) <= k * n:
        total = (torch.bmm(x, x.transpose(1, 2)) * torch.bmm(g, g.transpose(1, 2))).sum((1, 2), dtype=torch.float64)
    else:
        total = torch.bmm(g.transpose(1, 2), x).square().sum((1, 2), dtype=torch.float64)
    return total.clamp_min(0).numpy()


def score_loss(model: ImportedModel, piece: Piece, labels: str, seed: int) -> Callable[[Tensor], Tensor]:
    """The loss whose gradients make the Fisher: with the data's labels (`empirical`) or with `sampled` ones."""
    if labels == "empirical" and piece.labels is not None:
        known = piece.labels
        return lambda output: label_loss(output, known)
    return lambda output: sampled_loss(output, model.has_classifier, (seed, piece.index))


def traces(model: ImportedModel, piece: Piece, labels: str, seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """Squared gradient norms of a piece: `trace` [layers, B] float64, layers in the order of the layer table."""
    found = inputs_and_gradients(model, piece.images(model), score_loss(model, piece, labels, seed))
    return {"trace": np.stack([squared_norms(*found[layer.name]) for layer in model.layers])}
