"""The losses of published methods by hand."""

import pytest
import torch

from lampq_tvm.sensitivity.losses import (
    fisher_low_rank_loss,
    least_squares_hessian,
    least_squares_loss,
    perturbation_hessian,
    perturbation_loss,
)

DZ = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)


def test_perturbations_show_the_curvature():
    """Of the loss sum(a z^4 / 4): the gradient is a z^3, and moving by +-h changes it by 6 a z^2 h + 2 a h^3."""
    a, h = torch.tensor([1.0, 3.0], dtype=torch.float64), 0.5
    z = torch.tensor([[1.0, 2.0], [3.0, 0.0]], dtype=torch.float64)
    found = perturbation_hessian(lambda x: a * x**3, z, h)
    assert torch.allclose(found, (6 * a * z.square() * h + 2 * a * h**3).abs().mean(0))
    assert float(perturbation_loss(DZ, torch.tensor([1.0, 10.0], dtype=torch.float64))) == 2 * (1 + 40 + 9 + 10) / 4


def test_least_squares_fit_a_diagonal_and_a_direction():
    diagonal, _ = least_squares_hessian(DZ * torch.tensor([2.0, 5.0]), DZ)
    assert torch.allclose(diagonal, torch.tensor([2.0, 5.0], dtype=torch.float64))
    v = torch.tensor([2.0, 1.0], dtype=torch.float64)  # g = v (v . dz): images with dz . g = (v . dz)^2 = 16, 25
    _, u = least_squares_hessian((DZ @ v)[:, None] * v, DZ)
    assert torch.allclose(u, v * (16 * 4 / 4 + 25 * 5 / 5) / (16 + 25))
    assert float(least_squares_loss(DZ, torch.tensor([1.0, 2.0]).double(), v)) == pytest.approx((9 + 16 + 11 + 25) / 4)


def test_an_image_that_the_gradient_points_away_from_counts_nothing():
    _, u = least_squares_hessian(-DZ, DZ)
    assert torch.equal(u, torch.zeros(2, dtype=torch.float64))


def test_fisher_of_low_rank():
    """One snapshot: (|dz| . G)^2 / (D . D) and the diagonal part."""
    errors, gradients = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[3.0, 1.0]]).double()
    rank = ((1 * 3 + 2 * 1) ** 2 + (3 * 3 + 1 * 1) ** 2) / 2 / 5
    plain = (1 * 3 + 4 * 1 + 9 * 3 + 1 * 1) / 4
    assert float(fisher_low_rank_loss(DZ, errors, gradients)) == pytest.approx(rank + plain)
