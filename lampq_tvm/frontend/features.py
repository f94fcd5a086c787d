"""Features of a timm model in place of its answer: of some of its blocks, by timm's own `forward_intermediates`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.files import reason
from lampq_tvm.quiet import quiet

LAST = "last"
FORMS = {"nchw": "NCHW", "tokens": "NLC"}


@dataclass(frozen=True)
class Wanted:
    """Which features.

    Attributes:
        blocks: numbers that timm counts from 0, negative ones from the end; empty for the last block's, normalized.
        form: `nchw`, maps [B, C, height, width], or `tokens`, [B, tokens, C] without the class token.
    """

    blocks: tuple[int, ...]
    form: str

    @staticmethod
    def of(text: str, form: str) -> Wanted:
        """From `2,5,8,11` or `last`.

        >>> Wanted.of("2,5,-1", "nchw")
        Wanted(blocks=(2, 5, -1), form='nchw')

        Raises:
            UsageError: it is neither.
        """
        if form not in FORMS:
            raise UsageError(f"{form!r} is no form of features", where="--feature-form", hint=f"use {' or '.join(FORMS)}")
        try:
            return Wanted(() if text == LAST else tuple(int(part) for part in text.split(",")), form)
        except ValueError:
            hint = "give numbers of blocks, such as 2,5,8,11, or last"
            raise UsageError(f"{text!r} names no features", where="--features", hint=hint) from None


def _forward(model: Any, wanted: Wanted, x: Tensor) -> tuple[Tensor, ...]:
    """[B, C, H, W] to the features in the order of their blocks."""
    blocks, form = wanted.blocks, FORMS[wanted.form]
    found = model.forward_intermediates(x, list(blocks) or 1, norm=not blocks, output_fmt=form, intermediates_only=True)
    return tuple(found)


def with_features(model: nn.Module, wanted: Wanted, shape: tuple[int, ...], name: str) -> nn.Module:
    """A timm model that gives features instead of its answer; its parameters keep their names.

    Raises:
        UnsupportedError: timm gives no features of it, or not in that form. UsageError: it has no such block.
    """
    if not hasattr(model, "forward_intermediates"):
        raise UnsupportedError("timm gives no features of this model", where=name, hint="leave --features out")
    model.forward = functools.partial(_forward, model, wanted)
    try:
        with quiet(), torch.no_grad():
            model(torch.zeros(shape))
    except (AssertionError, IndexError, TypeError, ValueError) as e:
        hint = f"number blocks from 0; {' or '.join(f'--feature-form {form}' for form in FORMS if form != wanted.form)}"
        raise UsageError(f"timm does not give these features ({reason(e)})", where=name, hint=hint) from e
    return model
