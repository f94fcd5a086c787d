"""What published methods weigh the error of a block's output by, dz [B, n] (flattened), instead of its plain square.

Each is the loss that its method trains weights with: as in the public code of FIMA-Q and APHQ-ViT, and in LS-ViT's paper.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEP = 1e-6  # of APHQ's perturbation


def perturbation_hessian(gradient: Callable[[Tensor], Tensor], z: Tensor, step: float = STEP) -> Tensor:
    """APHQ-ViT (CVPR 2025): mean over images of |J(z + step) - J(z - step)|, [n], not divided by the step.

    Args:
        gradient: of the task's loss by the block's output z [B, n].
    """
    return (gradient(z + step) - gradient(z - step)).abs().mean(0)


def perturbation_loss(dz: Tensor, hessian: Tensor) -> Tensor:
    """2 mean(dz^2 H)."""
    return 2 * (dz.square() * hessian).mean()


def least_squares_hessian(gradient: Tensor, dz: Tensor) -> tuple[Tensor, Tensor]:
    """LS-ViT (CVPR 2026): (diagonal [n], u [n]) of the Hessian diag + u u^T that fits g = H dz over images best.

    diagonal = mean(g dz) / mean(dz^2), element by element; u = mean(g sqrt(dz . g)) / mean(dz . g), where images with
    dz . g <= 0 count nothing.

    Args:
        gradient: g [B, n], of the loss by the output of the quantized block.
        dz: [B, n].
    """
    diagonal = (gradient * dz).mean(0) / dz.square().mean(0).clamp_min(1e-30)
    along = (dz * gradient).sum(1).clamp_min(0)
    u = (gradient * along.sqrt()[:, None]).mean(0) / along.mean().clamp_min(1e-30)
    return diagonal, u


def least_squares_loss(dz: Tensor, diagonal: Tensor, u: Tensor) -> Tensor:
    """Mean over images of 1/2 sum dz^2 H + 1/2 (u . dz)^2."""
    return 0.5 * ((dz.square() * diagonal).sum(1) + (dz @ u).square()).mean()


def fisher_low_rank_loss(dz: Tensor, errors: Tensor, gradients: Tensor) -> Tensor:
    """FIMA-Q (CVPR 2025): mean(A (D D^T)^-1 A^T) + mean(|dz|^2 mean_k |G|), A = |dz| G^T.

    Args:
        dz: [B, n].
        errors: D [k, n], mean |z_q - z| of each snapshot.
        gradients: G [k, n], mean |gradient of KL| of each snapshot.
    """
    a = dz.abs() @ gradients.T
    inner = torch.linalg.pinv(errors @ errors.T)
    along: Tensor = ((a @ inner) * a).sum(1).mean()
    return along + (dz.square() * gradients.abs().mean(0)).mean()
