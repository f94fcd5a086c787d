"""Modules that write into values: what was written is what is read afterwards, and their outputs are what they return."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.export import export_module
from lampq_tvm.frontend.graph import Graph
from lampq_tvm.frontend.prove import recognize_and_prove

SHAPE = (2, 3, 16, 16)


class Writes(nn.Module):
    """A layer over what a function makes of the image."""

    def __init__(self, function) -> None:
        super().__init__()
        self.stem, self.function, self.head = nn.Conv2d(3, 4, 4, 4), function, nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.function(self, x).mean((2, 3)))


def into_the_image(self, x):
    x[:, 0] = 0
    x.mul_(2)
    return self.stem(x)


def into_a_slice(self, x):
    y = self.stem(x)
    y[:, :, 0] *= 0.5
    return y


def of_its_own(self, x):
    return self.stem(x).relu_()


@pytest.mark.parametrize("function", [into_the_image, into_a_slice, of_its_own])
def test_what_is_written_is_read(function):
    torch.manual_seed(0)
    module = Writes(function)
    graph = Graph(export_module(module, SHAPE, "m"), "m")
    found = recognize_and_prove(graph, SHAPE, strict=False)
    assert len(found.outputs) == 1 and found.has_classifier
    images = torch.randn(SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(graph.run(images.clone())[0], module(images.clone()))


@pytest.mark.parametrize("kind", ["shape", "number"])
def test_what_depends_on_the_image_is_refused(kind):
    class Depends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 5)

        def forward(self, x):
            y = self.stem(x).mean((2, 3))
            return self.head(y * (y > 0).long().squeeze(0) if kind == "shape" else y * y.sum().item())

    shape = (1, *SHAPE[1:])
    with pytest.raises(UnsupportedError):
        recognize_and_prove(Graph(export_module(Depends(), shape, "m"), "m"), shape, strict=False)
