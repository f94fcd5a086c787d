"""How far an output is from the right one, per image.

A model without a classifier is read as the Gaussian N(features, I): its divergence is half the squared difference of
the features (the output error), and its score under a sampled target is standard normal noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

F64 = npt.NDArray[np.float64]


def as_array(x: Tensor) -> F64:
    """A tensor's values as float64."""
    return np.asarray(x.detach().numpy(), np.float64)


def nll(output: Tensor, labels: npt.NDArray[np.int64]) -> F64:
    """Cross entropy per image [B]; output: logits [B, classes]."""
    per_image: Tensor = functional.cross_entropy(output.double(), torch.from_numpy(labels), reduction="none")
    return as_array(per_image)


def hits(output: Tensor, labels: npt.NDArray[np.int64]) -> F64:
    """1.0 where the largest logit is the label's, [B]."""
    return as_array(output.argmax(1) == torch.from_numpy(labels))


def divergence(reference: Tensor, output: Tensor, has_classifier: bool) -> F64:
    """KL(reference || output) per image [B]: of the softmax distributions, or of N(features, I)."""
    a, b = reference.double().flatten(1), output.double().flatten(1)
    if not has_classifier:
        return as_array(0.5 * (a - b).square().sum(1))
    p, q = functional.log_softmax(a, dim=1), functional.log_softmax(b, dim=1)
    return as_array((p.exp() * (p - q)).sum(1).clamp_min(0))


def label_loss(output: Tensor, labels: npt.NDArray[np.int64]) -> Tensor:
    """Sum over images of the cross entropy with the data's labels: its gradients give the empirical Fisher."""
    return functional.cross_entropy(output, torch.from_numpy(labels), reduction="sum")


def sampled_loss(output: Tensor, has_classifier: bool, seed: tuple[int, ...]) -> Tensor:
    """Sum over images of the loss with targets drawn from the model itself: its gradients give the true Fisher."""
    rng = np.random.default_rng(seed)
    if not has_classifier:
        noise = rng.standard_normal(tuple(output.shape)).astype(np.float32)
        return (output * torch.from_numpy(noise)).sum()
    share = functional.softmax(output.detach().double(), dim=1).cumsum(1).numpy()
    drawn = (share < rng.random((len(share), 1))).sum(1).clip(0, share.shape[1] - 1)
    return functional.cross_entropy(output, torch.from_numpy(drawn), reduction="sum")


def labels_mean_something(accuracy: float, images: int, classes: int) -> bool:
    """Whether the float model beats guessing on these labels by more than three standard deviations."""
    chance = 1 / classes
    return accuracy > chance + 3 * float(np.sqrt(chance * (1 - chance) / images))


def ranking_loss(exact: Tensor, found: Tensor, theta: float = 0.2) -> float:
    """How far quantized attention changes the order of a row's keys (PTQ for ViT, NeurIPS 2021): [.., keys] each.

    sum over pairs k < j of max(0, theta - (found_k - found_j) sign(exact_k - exact_j)).
    """
    sign = (exact[..., :, None] - exact[..., None, :]).sign()
    apart = (found[..., :, None] - found[..., None, :]) * sign
    upper = torch.triu(torch.ones(exact.shape[-1], exact.shape[-1], dtype=torch.bool), 1)
    return float((theta - apart).clamp_min(0)[..., upper].sum(dtype=torch.float64))
