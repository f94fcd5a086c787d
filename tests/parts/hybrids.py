"""Small networks of which some operators have no integer rule."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lampq_tvm.calibrate.calibration import Calibration
from lampq_tvm.calibrate.fit import calibrate
from lampq_tvm.frontend.export import export_module
from lampq_tvm.frontend.graph import Graph
from lampq_tvm.frontend.prove import recognize_and_prove
from lampq_tvm.network.model import ImportedModel, InputSpec
from lampq_tvm.store import Units

CHANNELS, SIDE, WIDTH, HEADS = 3, 16, 16, 2


class Hybrid(nn.Module):
    """A stem of convolutions, one block, a classifier; subclasses spell one part differently."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.bn = nn.Conv2d(CHANNELS, WIDTH, 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTH)
        self.down = nn.Conv2d(WIDTH, WIDTH, 2, 2)
        self.norm1, self.norm2, self.norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2, self.head = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, 5)
        self.extra = nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, groups=WIDTH)
        self.heads = nn.Linear(HEADS, HEADS)
        nn.init.uniform_(self.bn.running_mean, -0.3, 0.3)
        nn.init.uniform_(self.bn.running_var, 0.5, 1.5)

    def embed(self, x: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.bn(self.stem(x)))
        return self.down(x).flatten(2).transpose(1, 2)

    def operands(self, x: Tensor) -> tuple[Tensor, ...]:
        b, t, _ = x.shape
        return self.qkv(x).reshape(b, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)

    def mix(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(*self.operands(x)).transpose(1, 2).reshape(x.shape)

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image)
        x = x + self.proj(self.mix(self.norm1(x)))
        x = x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x).mean(1))


class TalkingHeads(Hybrid):
    """Heads are mixed between scores and values."""

    def mix(self, x: Tensor) -> Tensor:
        q, k, v = self.operands(x)
        scores = self.heads((q @ k.transpose(-1, -2)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)


class ChannelAttention(Hybrid):
    """Channels attend to each other, their tokens divided by their length."""

    def mix(self, x: Tensor) -> Tensor:
        q, k, v = (nn.functional.normalize(part.transpose(-1, -2), dim=-1) for part in self.operands(x))
        return ((q @ k.transpose(-1, -2)).softmax(-1) @ v).permute(0, 3, 1, 2).reshape(x.shape)


class SequenceFirst(Hybrid):
    """Tokens lie along the first axis, images along the second."""

    def mix(self, x: Tensor) -> Tensor:
        t, b, width = len(x[0]), len(x), WIDTH // HEADS
        q, k, v = self.qkv(x.transpose(0, 1)).reshape(t, b * HEADS, 3, width).permute(2, 1, 0, 3).unbind(0)
        scores = torch.baddbmm(torch.zeros(1), q, k.transpose(1, 2)).softmax(-1)
        return torch.bmm(scores, v).transpose(0, 1).reshape(t, b, WIDTH).transpose(0, 1)


class Convolved(Hybrid):
    """Depthwise convolution, gating by pooled channels, maximum over neighbours, beside the attention."""

    def mix(self, x: Tensor) -> Tensor:
        b, _, c = x.shape
        grid = x.transpose(1, 2).reshape(b, c, 4, 4)
        grid = self.extra(grid) * grid.mean((2, 3), keepdim=True).sigmoid()
        grid = nn.functional.max_pool2d(grid, 3, 1, 1) + nn.functional.adaptive_avg_pool2d(grid, 4)
        return grid.flatten(2).transpose(1, 2)


class HeadsFirst(Hybrid):
    """Images lie along the second axis of q, k and v, behind the heads."""

    def mix(self, x: Tensor) -> Tensor:
        q, k, v = (part.transpose(0, 1) for part in self.operands(x))
        mixed = nn.functional.scaled_dot_product_attention(q * k.sigmoid(), k, v, None, 0.0, False, scale=0.5)
        return mixed.permute(1, 2, 0, 3).reshape(x.shape)


class WindowsOfProducts(Hybrid):
    """Windows are cut after the projection, images and windows along one axis; every other value is repeated."""

    def mix(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        windows = self.qkv(x).reshape(b, 2, 2, 2, 2, 3 * c).permute(0, 1, 3, 2, 4, 5).reshape(b * 4, 4, 3, HEADS, c // HEADS)
        q, k, v = windows.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v * k.amax(-1, keepdim=True))
        mixed = mixed.transpose(1, 2).reshape(b, 2, 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, t, c)
        return mixed + torch.cat([x[:, :1].expand(-1, t - 1, -1), torch.ones(1, 1, c).expand(b, -1, -1)], 1)


KINDS = (Hybrid, TalkingHeads, ChannelAttention, SequenceFirst, HeadsFirst, Convolved, WindowsOfProducts)
HYBRIDS = {kind.__name__: kind for kind in KINDS}


@functools.cache
def module(name: str) -> nn.Module:
    return HYBRIDS[name]().eval()


@functools.cache
def hybrid(name: str) -> ImportedModel:
    """The imported network."""
    shape = (2, CHANNELS, SIDE, SIDE)
    found = recognize_and_prove(Graph(export_module(module(name), shape, name), name), shape, strict=False)
    spec = InputSpec(CHANNELS, SIDE, SIDE, (0.5,) * CHANNELS, (0.25,) * CHANNELS)
    tensors = {k: np.array(v.numpy()) for k, v in found.tensors.items()}
    return ImportedModel(name, found.ops, found.outputs, spec, "trained", found.has_classifier, tensors)


def pixels(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, CHANNELS, SIDE, SIDE), np.uint8)


@functools.cache
def calibrated(name: str) -> Calibration:
    with tempfile.TemporaryDirectory() as folder:
        return calibrate(hybrid(name), [(pixels(16, 0), None)], units=Units(Path(folder)), widths=(4, 8))
