"""timm's attention and Swin's windows, said in operators that ncnn has: at most four dimensions, and no unbind.

The sums are the same; only views differ. Images come one at a time, so the leading dimension is free to hold windows.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch import nn


def heads(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Queries, keys and values, each [B, heads, T, C / heads], of x [B, T, C]."""
    batch, tokens, channels = x.shape
    parts = module.qkv(x).chunk(3, -1)
    return [p.reshape(batch, tokens, module.num_heads, channels // module.num_heads).transpose(1, 2) for p in parts]


def attention(self: nn.Module, x: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    """ViT's attention of x [B, T, C]."""
    out = nn.functional.scaled_dot_product_attention(*heads(self, x))
    merged: torch.Tensor = self.proj(out.transpose(1, 2).reshape(x.shape))
    return merged


def window_attention(self: nn.Module, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Swin's attention of windows x [windows, T, C]; the bias and the mask [windows, T, T] become one constant."""
    bias = self._get_rel_pos_bias().detach()
    bias = bias if mask is None else bias + mask.unsqueeze(1)
    q, k, v = heads(self, x)
    scores = (q * self.scale) @ k.transpose(-2, -1) + bias
    merged: torch.Tensor = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))
    return merged


def windows(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Swin's attention of an image x [1, H, W, C], whose sides are multiples of the window's."""
    _, height, width, channels = x.shape
    rows, columns = self.window_size
    if any(self.shift_size):
        x = torch.roll(x, shifts=[-s for s in self.shift_size], dims=(1, 2))
    x = x.reshape(height // rows, rows, width // columns, columns * channels).transpose(1, 2)
    x = self.attn(x.reshape(-1, rows * columns, channels), mask=self.attn_mask)
    x = x.reshape(height // rows, width // columns, rows, columns * channels).transpose(1, 2)
    x = x.reshape(1, height, width, channels)
    return torch.roll(x, shifts=self.shift_size, dims=(1, 2)) if any(self.shift_size) else x


def merging(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Swin's 2 x 2 merging of an image x [1, H, W, C], whose sides are even."""
    _, height, width, channels = x.shape
    x = x.reshape(height // 2, 2, width // 2, 2 * channels).transpose(1, 2)
    x = x.reshape(height * width // 4, 2, 2, channels).transpose(1, 2)
    merged: torch.Tensor = self.reduction(self.norm(x.reshape(1, height // 2, width // 2, 4 * channels)))
    return merged


FORMS = {
    "Attention": ("forward", attention),
    "WindowAttention": ("forward", window_attention),
    "SwinTransformerBlock": ("_attn", windows),
    "PatchMerging": ("forward", merging),
}


def friendly(model: nn.Module) -> nn.Module:
    """The model, its modules changed in place."""
    for module in model.modules():
        if type(module).__name__ in FORMS:
            name, form = FORMS[type(module).__name__]
            setattr(module, name, MethodType(form, module))
    return model
