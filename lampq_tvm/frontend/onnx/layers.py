"""ONNX's convolutions, pools, norms, resizing and attention in torch: as `frontend.onnx.ops`, which has all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lampq_tvm.frontend.onnx.inputs import Attributes, Inputs, Rule, numbers, option, refuse

PLANE = 2  # axes of an image
CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
CUBIC = -0.75  # torch's coefficient
# mode, places of pixels, rounding of the nearest -> torch's mode, and whether corners lie on corners.
RESIZING: dict[tuple[str, str, str], tuple[str, bool | None]] = {
    ("nearest", "asymmetric", "floor"): ("nearest", None),
    ("linear", "half_pixel", ""): ("bilinear", False),
    ("linear", "pytorch_half_pixel", ""): ("bilinear", False),
    ("linear", "align_corners", ""): ("bilinear", True),
    ("cubic", "half_pixel", ""): ("bicubic", False),
    ("cubic", "pytorch_half_pixel", ""): ("bicubic", False),
    ("cubic", "align_corners", ""): ("bicubic", True),
}
# ONNX's rules for the nearest: where a pixel of n, scaled by s, lies in m; and how that is rounded.
PLACES: dict[str, Callable[[Tensor, int, int, float], Tensor]] = {
    "asymmetric": lambda x, n, m, s: x / s,
    "half_pixel": lambda x, n, m, s: (x + 0.5) / s - 0.5,
    "pytorch_half_pixel": lambda x, n, m, s: (x + 0.5) / s - 0.5 if n > 1 else x * 0,
    "align_corners": lambda x, n, m, s: x * (m - 1) / max(n - 1, 1),
}
ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round_prefer_floor": lambda x: torch.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: torch.floor(x + 0.5),
}
DEFINITION = 21  # opset from which the weights of a norm over groups are one per channel


def padded(x: Tensor, a: Attributes, kernel: Sequence[int], value: float, operator: str) -> tuple[Tensor, list[int]]:
    """The input, and the padding that its operator still does; padded already where both sides of an axis differ."""
    axes, kind = len(kernel), a.get("auto_pad", "NOTSET")
    pads = list(a.get("pads") or [0] * (2 * axes))
    strides, dilations = a.get("strides") or [1] * axes, a.get("dilations") or [1] * axes
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        for i, (n, k, s, d) in enumerate(zip(x.shape[2:], kernel, strides, dilations, strict=True)):
            need = max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
            small, large = need // 2, need - need // 2
            pads[i], pads[i + axes] = (small, large) if kind == "SAME_UPPER" else (large, small)
    elif kind not in ("NOTSET", "VALID", ""):
        refuse(operator, f"with auto_pad {kind}")
    if pads[:axes] == pads[axes:]:
        return x, pads[:axes]
    sides = [n for i in reversed(range(axes)) for n in (pads[i], pads[i + axes])]
    return F.pad(x, sides, value=value), [0] * axes


def convolution(x: Inputs, a: Attributes) -> Tensor:
    """Along one, two or three axes."""
    axes = x[1].ndim - 2
    source, pads = padded(x[0], a, x[1].shape[2:], 0.0, "Conv")
    ones = [1] * axes
    options = (a.get("strides") or ones, pads, a.get("dilations") or ones, a.get("group", 1))
    out: Tensor = CONVOLUTIONS[axes - 1](source, x[1], option(x, 2), *options)
    return out


def transposed(x: Inputs, a: Attributes) -> Tensor:
    """Transposed convolution of images."""
    pads = a.get("pads") or [0] * 4
    if x[1].ndim != PLANE + 2 or pads[:2] != pads[2:] or a.get("output_shape") or a.get("auto_pad", "NOTSET") != "NOTSET":
        refuse("ConvTranspose", "that is not two-dimensional with symmetric padding")
    ones = [1, 1]
    more = a.get("output_padding") or [0, 0]
    return F.conv_transpose2d(
        x[0], x[1], option(x, 2), a.get("strides") or ones, pads[:2], more, a.get("group", 1), a.get("dilations") or ones
    )


def average_pool(x: Inputs, a: Attributes) -> Tensor:
    """Means of regions; padding counts where it is said."""
    counted, kernel = bool(a.get("count_include_pad", 0)), a["kernel_shape"]
    source, pads = padded(x[0], a, kernel, 0.0, "AveragePool")
    if len(kernel) != PLANE or any(d != 1 for d in a.get("dilations") or []) or (source is not x[0] and not counted):
        refuse("AveragePool", "that is not of images with symmetric padding")
    ceil = bool(a.get("ceil_mode", 0))
    return F.avg_pool2d(source, kernel, a.get("strides") or [1, 1], pads, ceil, counted)


def max_pool(x: Inputs, a: Attributes) -> Tensor:
    """Largest values of regions."""
    if len(a["kernel_shape"]) != PLANE or a["outputs"] > 1:
        refuse("MaxPool", "that is not of images, or gives places too")
    kernel, ones = a["kernel_shape"], [1, 1]
    source, pads = padded(x[0], a, kernel, -math.inf, "MaxPool")
    if source is not x[0] and a.get("ceil_mode", 0):
        refuse("MaxPool", "of ceil_mode with asymmetric padding")
    ceil, dilations = bool(a.get("ceil_mode", 0)), a.get("dilations") or ones
    return F.max_pool2d(source, kernel, a.get("strides") or ones, pads, dilations, ceil)


def batch_norm(x: Inputs, a: Attributes) -> Tensor:
    """With the statistics that training left."""
    if a.get("training_mode", 0):
        refuse("BatchNormalization", "in training")
    return F.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0.0, a.get("epsilon", 1e-5))


def group_norm(x: Inputs, a: Attributes) -> Tensor:
    """Over groups of channels; its weights were one per group once."""
    times = 1 if a["opset"] >= DEFINITION else x[0].shape[1] // a["num_groups"]
    weight, bias = (v.repeat_interleave(times) if times > 1 else v for v in x[1:3])
    return F.group_norm(x[0], a["num_groups"], weight, bias, a.get("epsilon", 1e-5))


def rms_norm(x: Inputs, a: Attributes) -> Tensor:
    """Over the axes from `axis` on, without a mean."""
    axis = a.get("axis", -1) % x[0].ndim
    return F.rms_norm(x[0], x[0].shape[axis:], x[1], a.get("epsilon", 1e-5))


def resize(x: Inputs, a: Attributes) -> Tensor:
    """Images by torch's rules, which are some of ONNX's."""
    mode, where = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    rounding = a.get("nearest_mode", "round_prefer_floor") if mode == "nearest" else ""
    given = numbers(option(x, 2)) or numbers(option(x, 3))
    scaled = bool(numbers(option(x, 2)))
    full = dict(zip((axis % x[0].ndim for axis in a.get("axes") or range(len(given))), given, strict=True))
    outside = [full.get(i) in (None, 1 if scaled else n) for i, n in enumerate(x[0].shape[:2])]
    odd = mode == "cubic" and (a.get("cubic_coeff_a", CUBIC) != CUBIC or a.get("exclude_outside", 0))
    odd = odd or x[0].ndim != PLANE + 2 or not all(outside) or a.get("keep_aspect_ratio_policy", "stretch") != "stretch"
    factors = [full.get(i, 1) if scaled else full.get(i, n) / n for i, n in enumerate(x[0].shape)]
    if where == "pytorch_half_pixel" and mode != "nearest":  # which torch itself takes otherwise for a single pixel
        odd = odd or min(int(n * f) for n, f in zip(x[0].shape[2:], factors[2:], strict=True)) < PLANE
    if a.get("antialias", 0) and (mode != "linear" or (min(factors) < 1 and not a.get("exclude_outside", 0))):
        odd = True  # torch's filters are other ones
    if (mode, where, rounding) not in RESIZING and not odd and where in PLACES and rounding in ROUNDINGS:
        return _nearest(x[0], factors, PLACES[where], ROUNDINGS[rounding])
    if odd or (mode, where, rounding) not in RESIZING:
        refuse("Resize", f"of mode {mode}, {where}, {rounding}")
    how, corners = RESIZING[mode, where, rounding]
    options: dict[str, Any] = {"mode": how, "align_corners": corners, "antialias": bool(a.get("antialias", 0))}
    if scaled:
        return F.interpolate(x[0], scale_factor=[float(full.get(2, 1)), float(full.get(3, 1))], **options)
    return F.interpolate(x[0], size=[int(full.get(i, x[0].shape[i])) for i in (2, 3)], **options)


def _nearest(x: Tensor, factors: Sequence[float], place: Callable[..., Tensor], rounding: Callable[[Tensor], Tensor]) -> Tensor:
    """Rows and columns that lie nearest."""
    for axis in (2, 3):
        m, s = x.shape[axis], float(factors[axis])
        n = math.floor(m * s + 1e-6)
        at = rounding(place(torch.arange(n, dtype=torch.float64), n, m, s)).clamp(0, m - 1)
        x = torch.index_select(x, axis, at.long())
    return x


def depth_to_space(x: Inputs, a: Attributes) -> Tensor:
    """Channels to pixels: columns of depth first, or as torch's pixel shuffle."""
    if a.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x[0], a["blocksize"])
    b, source = a["blocksize"], torch.as_tensor(x[0])
    images, channels, high, wide = source.shape
    parted = source.reshape(images, b, b, channels // b**2, high, wide).permute(0, 3, 4, 1, 5, 2)
    return parted.reshape(images, channels // b**2, high * b, wide * b)


def space_to_depth(x: Inputs, a: Attributes) -> Tensor:
    """Pixels to channels, the place within a block first."""
    b, source = a["blocksize"], torch.as_tensor(x[0])
    images, channels, high, wide = source.shape
    parted = source.reshape(images, channels, high // b, b, wide // b, b).permute(0, 3, 5, 1, 2, 4)
    return parted.reshape(images, channels * b**2, high // b, wide // b)


def attention(x: Inputs, a: Attributes) -> Tensor:
    """ONNX opset 23's fused attention, on heads [B, heads, T, head_dim] or tokens [B, T, C], with or without a mask."""
    if any(v is not None for v in x[4:]) or a.get("softcap", 0.0) or a["outputs"] > 1:
        refuse("Attention", "with a cache")
    heads = [a.get("q_num_heads", 0), *[a.get("kv_num_heads", 0)] * 2]
    tokens = x[0].ndim == PLANE + 1
    q, k, v = (each.unflatten(-1, (n, -1)).transpose(1, 2) if tokens else each for each, n in zip(x[:3], heads, strict=True))
    mask = None if option(x, 3) is None else torch.as_tensor(x[3])
    shared = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=bool(a.get("is_causal", 0)), scale=a.get("scale"), enable_gqa=shared
    )
    return out.transpose(1, 2).flatten(2) if tokens else out


RULES: dict[str, Rule] = {
    "Attention": attention,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Conv": convolution,
    "ConvTranspose": transposed,
    "DepthToSpace": depth_to_space,
    "GlobalAveragePool": lambda x, a: x[0].mean(list(range(2, x[0].ndim)), keepdim=True),
    "GlobalMaxPool": lambda x, a: x[0].amax(list(range(2, x[0].ndim)), keepdim=True),
    "GroupNormalization": group_norm,
    "InstanceNormalization": lambda x, a: F.instance_norm(x[0], None, None, x[1], x[2], True, 0.0, a.get("epsilon", 1e-5)),
    "MaxPool": max_pool,
    "RMSNormalization": rms_norm,
    "Resize": resize,
    "SpaceToDepth": space_to_depth,
}
