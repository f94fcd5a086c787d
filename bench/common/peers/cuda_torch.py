"""torch on a GPU: linear layers as int8 products, and times by its events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

LEAST_ROWS = 32  # that `torch._int_mm` takes


class Int8Linear(torch.nn.Module):
    """A linear layer as a dynamic int8 product: one scale for the activations, one a channel for the weights."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        w = linear.weight.detach().float()
        scale = w.abs().amax(1, keepdim=True) / 127
        self.register_buffer("w", (w / scale).round().to(torch.int8).t())
        self.register_buffer("scale", scale.t().half())
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, x: Any) -> Any:
        """x [..., K] to [..., N] float16."""
        rows = x.reshape(-1, x.shape[-1])
        step = rows.abs().amax() / 127
        codes = torch.nn.functional.pad((rows / step).round().to(torch.int8), (0, 0, 0, max(0, LEAST_ROWS - len(rows))))
        out = torch._int_mm(codes, self.w)[: len(rows)].half() * (step * self.scale) + self.bias
        return out.reshape(*x.shape[:-1], -1)


def int8_products(model: Any) -> Any:
    """The model with every linear layer replaced whose width the int8 product takes."""
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and module.out_features % 8 == 0:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, Int8Linear(module))
    return model


def runs(source: str, batch: int, kinds: Sequence[str]) -> Iterator[tuple[str, Callable[[Any], Any], Any]]:
    """(name, call, images [batch, 3, 224, 224] float16) of ways to run a timm model with random weights.

    Args:
        kinds: of `eager`, `fp16` (compiled) and `int8` (compiled, with int8 products).
    """
    import timm

    def model() -> Any:
        return timm.create_model(source).eval().half().cuda()

    def compiled(module: Any) -> Any:
        return torch.compile(module, mode="max-autotune", dynamic=False)

    x = torch.randn(batch, 3, 224, 224, dtype=torch.float16, device="cuda")
    ways = {
        "eager": ("torch fp16", model),
        "fp16": ("torch.compile fp16", lambda: compiled(model())),
        "int8": ("torch.compile int8 products", lambda: compiled(int8_products(model()))),
    }
    for kind in kinds:
        name, make = ways[kind]
        yield name, make(), x


def median_ms(call: Any, x: Any, repeats: int, samples: int) -> float | str:
    """Median milliseconds of a call; the reason where it does not run."""
    try:
        with torch.inference_mode():
            for _ in range(10):
                call(x)
            found = []
            for _ in range(samples):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                for _ in range(repeats):
                    call(x)
                end.record()
                end.synchronize()
                found.append(start.elapsed_time(end) / repeats)
        return round(float(np.median(found)), 4)
    except RuntimeError as e:
        return f"does not run ({str(e).splitlines()[0][:80]})"
