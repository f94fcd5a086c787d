"""Operators of torch's that TVM's importer does not know, or takes wrongly: their kernels compute what torch does."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import tvm
from torch import nn

from lampq_tvm.frontend.export import export_module
from lampq_tvm.frontend.graph import Graph
from lampq_tvm.frontend.prove import recognize_and_prove
from lampq_tvm.network.operators.float_part import FloatPart, whole
from lampq_tvm.parts.kernels import part_steps
from lampq_tvm.targets import resolve_target

PLACES = torch.tensor([4, 0, 2, 2])
FILTERS = torch.randn((6, 3, 3, 3), generator=torch.Generator().manual_seed(1))


def put(x):
    y = x.clone()
    y[:, 0] = 0
    y[:, 1] += x[:, 2]
    return y


def masked(x):
    y = x * 2
    y[y > 0.5] = 0
    return y


def pieces(x):
    first, second = (x * 1).chunk(2, 1)
    first.mul_(3)
    return torch.cat([first, second + first], 1)


def reduced_apart(x):
    """Pieces that kernels of their own read."""
    first, second, third = x.split(3, 2)
    one, two = first.split([1, 2], 2)
    rows = torch.unbind(third.softmax(-1), 1)
    return (
        one.softmax(-1)
        + two.cumsum(-1).sum(2, keepdim=True) * second.amax((1, 2), keepdim=True)
        + rows[0].amax(-1)[:, :1, None, None]
    )


CASES = {
    "reduced_apart": reduced_apart,
    "alpha": lambda x: torch.sub(torch.add(x, x.flip(1), alpha=0.5), x.square(), alpha=2),
    "conditions": lambda x: (x > 0) * 0.5 + (x < 1).cumsum(1, dtype=torch.float32),
    "down": lambda x: F.interpolate(x, size=(4, 3)),
    "down_exact": lambda x: F.interpolate(x, scale_factor=0.5, mode="nearest-exact"),
    "far": lambda x: (100 * x).logcumsumexp(1),
    "integers": lambda x: (3 * x).long() * 0.1 + (3 * x).long() / 2 + (7 * x).long() // 2 + (2 * x).int().prod(1, keepdim=True),
    "masked": masked,
    "pieces": pieces,
    "up_exact": lambda x: F.interpolate(x, size=(11, 9), mode="nearest-exact"),
    "accumulated": lambda x: x.index_add(1, PLACES, x[:, :4]),
    "acosh": lambda x: torch.acosh(x.abs() + 1.5),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, (3, 5), return_indices=True)[0],
    "adaptive_max_at": lambda x: functools.reduce(operator.mul, F.adaptive_max_pool2d(x, (3, 2), return_indices=True)),
    "amin": lambda x: x - x.amin((1, 2), keepdim=True),
    "and": lambda x: x * ((x > 0) & (x < 1)),
    "argmax": lambda x: x * x.argmax(1, keepdim=True),
    "argsort": lambda x: torch.gather(x, 1, torch.argsort(x, dim=1, descending=True)),
    "asinh": torch.asinh,
    "atanh": lambda x: torch.atanh(x.clamp(-0.9, 0.9)),
    "bicubic": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "bicubic_to": lambda x: F.interpolate(x, size=(5, 7), mode="bicubic", align_corners=True),
    "cdist": lambda x: torch.cdist(x[:, 0], x[:, 1]),
    "count": lambda x: (x > 0).sum(1).float(),
    "cumprod": lambda x: x.cumprod(2),
    "cumsum": lambda x: x.cumsum(-1),
    "divided": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "erfc": torch.erfc,
    "exp2": torch.exp2,
    "filled": lambda x: x.index_fill(1, torch.tensor([1, -1]), 0.5),
    "gathered": lambda x: torch.gather(x, 1, torch.zeros_like(x[:, :2]).long()),
    "grid_sample": lambda x: F.grid_sample(x, torch.tanh(x[:, :2]).permute(0, 2, 3, 1), align_corners=False),
    "group_norm": lambda x: F.group_norm(x, 2),
    "half": lambda x: x.half().float(),
    "kthvalue": lambda x: x.kthvalue(2, dim=1)[0],
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "median": lambda x: x.median(1, keepdim=True)[0] + x,
    "min": lambda x: x.min(2)[0] * x.min(2)[1],
    "one_hot": lambda x: F.one_hot(x.argmax(1), 6).float(),
    "prod": lambda x: x + x.prod(1, keepdim=True),
    "put": put,
    "rrelu": F.rrelu,
    "scatter": lambda x: torch.zeros_like(x).scatter(1, x.argmax(1, keepdim=True), x),
    "scatter_add": lambda x: x.scatter_add(1, torch.zeros_like(x).long(), x),
    "selu": F.selu,
    "sinh": torch.sinh,
    "smaller": lambda x: F.interpolate(x, size=(4, 3), mode="bilinear", antialias=True),
    "sort": lambda x: torch.sort(x, dim=1)[0],
    "ties": lambda x: torch.sort(x.round(), dim=1, stable=True)[1] * x,
    "topk": lambda x: functools.reduce(operator.mul, torch.topk(x, 3, dim=1)),
    "transposed": lambda x: F.conv_transpose2d(x, FILTERS, stride=2, padding=1, output_padding=1),
    "unfold": lambda x: x.unfold(2, 3, 2),
}


class Around(nn.Module):
    """A function between a convolution and a layer."""

    def __init__(self, function, features: int) -> None:
        super().__init__()
        self.stem, self.function, self.head = nn.Conv2d(3, 6, 4, 4), function, nn.Linear(features, 4)

    def forward(self, x):
        return self.head(self.function(self.stem(x)).flatten(1))


def computed(part: FloatPart, constants: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> np.ndarray:
    """What the kernels of a part compute for one image."""
    target = resolve_target("host")
    steps = part_steps(part.nodes, part.ins, constants, 1, target.isa)
    functions = {step.name: step.function.with_attr("global_symbol", step.name) for step in steps}
    library = tvm.compile(tvm.IRModule(functions), target=tvm.target.Target(target.tvm))
    values = [tvm.runtime.tensor(x.numpy()) for x in inputs]
    for step in steps:
        values.append(tvm.runtime.tensor(np.zeros(step.shape, step.dtype)))
        given = [values[read] if isinstance(read, int) else tvm.runtime.tensor(read) for read in step.reads]
        library[step.name](*given, values[-1])
    return values[-1].numpy()


@pytest.mark.parametrize("name", CASES)
def test_kernels_compute_what_torch_does(name):
    torch.manual_seed(0)
    features = CASES[name](torch.randn(2, 6, 8, 8)).flatten(1).shape[1]
    module = Around(CASES[name], features)
    graph = Graph(export_module(module, (2, 3, 32, 32), name), name)
    found = recognize_and_prove(graph, (2, 3, 32, 32), strict=False)
    (part,) = (op for op in found.ops if isinstance(op, FloatPart))
    inputs = [torch.randn(whole(sizes, 1)) for sizes in part.ins]
    own = {key: value for key, value in found.tensors.items() if key.rpartition(".")[0] == part.name}
    wanted = part.run(tuple(inputs), own).numpy()
    given = computed(part, {key.rpartition(".")[2]: value for key, value in own.items()}, inputs)
    np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
