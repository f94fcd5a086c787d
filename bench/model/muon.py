"""Muon, its products in bfloat16 where the CPU has them: torch's own emulates them elsewhere, twenty times as slowly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

NARROW = torch.cpu._is_avx512_bf16_supported()  # elsewhere bfloat16 is emulated, and slower than float32
QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients and steps of Jordan's published code


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix [N, K] with its singular values near 1, by Newton-Schulz steps on its shorter side."""
    a, b, c = QUINTIC
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = (wide / wide.norm().clamp_min(1e-7)).to(torch.bfloat16 if NARROW else torch.float32)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide is matrix else x.T).float()


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal; for matrices [N, K], their steps in proportion to sqrt(max(1, N / K))."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step down the gradients, with Nesterov's momentum."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                kept = state.setdefault("momentum_buffer", torch.zeros_like(p))
                kept.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(kept, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
