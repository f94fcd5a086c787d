"""Muon, whatever its products are made in, is torch's."""

from __future__ import annotations

import pytest
import torch

from bench.model.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 24), (96, 24), (24, 96)])
def test_steps_are_those_of_torchs_own(shape):
    """Which multiplies in bfloat16: a step differs by its rounding."""
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(5)]
    moved = []
    for kind in (Muon, torch.optim.Muon):
        p = torch.nn.Parameter(start.clone())
        optimizer = kind([p], lr=0.05, momentum=0.95, weight_decay=0.01)
        for gradient in gradients:
            p.grad = gradient.clone()
            optimizer.step()
        moved.append(p.detach() - start)
    assert (moved[0] - moved[1]).norm() < 0.03 * moved[1].norm()


def test_singular_values_are_near_one():
    torch.manual_seed(0)
    found = torch.linalg.svdvals(orthogonal(torch.randn(40, 24) @ torch.diag(torch.linspace(0.2, 3, 24))))
    assert found.min() > 0.6 and found.max() < 1.3
