"""What a product makes of its own output, for its kernel: LayerNorm to codes, post-norm with its sum and codes, a rotation."""

from __future__ import annotations

from dataclasses import dataclass, field

from lampq_tvm.kernels.cuda.following import Following
from lampq_tvm.kernels.cuda.tiles import CudaTiles
from lampq_tvm.kernels.cuda.turned import Turning
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.groups import Group
from lampq_tvm.lower.cuda.launch import Recipe, Value, array, encoded, norm_text
from lampq_tvm.quantize.model import QAdd, QFloatNorm, QLayerNorm, QRotary, QToCodes


@dataclass(frozen=True)
class After:
    """What a kernel needs for what follows its product: its description, its buffers, its values."""

    following: Following | None = None
    turning: Turning | None = None
    reads: dict[str, str] = field(default_factory=dict)
    params: dict[str, Recipe] = field(default_factory=dict)
    outs: tuple[tuple[str, Value], ...] = ()

    @property
    def suffix(self) -> str:
        """Part of the kernel's name."""
        if self.turning is not None:
            return self.turning.suffix
        if self.following is None:
            return ""
        codes = self.following.codes
        return f"_{'a' if self.following.summed else 'n'}{codes.bits if codes else 0}{norm_text(self.following)}"


def after_product(group: Group, shape: ProductShape, tiles: CudaTiles, c: CudaContext) -> After:
    """What is joined behind a product; its values are noted."""
    norm, post, rotary = group.behind(QLayerNorm), group.behind(QFloatNorm), group.behind(QRotary)
    count: Recipe = {"from": "values", "values": [0] * -(-shape.rows // tiles.rows), "dtype": "int32"}
    if norm is not None:
        value = c.coded(norm.name, norm.encode.stored)
        params = _constants(norm, count) | encoded(norm.name, norm.encode, "next_range")
        return After(Following(Kind(value.dtype), norm.eps, centred=norm.centred), params=params, outs=(("codes", value),))
    if post is not None:
        return _post_norm(group, post, count, c)
    if rotary is not None:
        turning = Turning(len(c.tensors[f"{rotary.name}.cos"]), rotary.heads, rotary.head_dim)
        params = {name: array(f"{rotary.name}.{name}") for name in ("cos", "sin", "inv")} | encoded(rotary.name, rotary.encode)
        return After(turning=turning, params=params)
    return After()


def _post_norm(group: Group, norm: QFloatNorm, count: Recipe, c: CudaContext) -> After:
    """LayerNorm, the sum with the stream, and its codes where there are any."""
    total, codes = group.behind(QAdd), group.behind(QToCodes)
    assert total is not None
    params, outs = _constants(norm, count), [("sum", c.add(total.name, "float32"))]
    kind: Kind | None = None
    if codes is not None:
        value = c.coded(codes.name, codes.encode.stored)
        outs, kind = [*outs, ("codes", value)], Kind(value.dtype)
        params |= {"next_affine": array(f"{codes.name}.affine")} | encoded(codes.name, codes.encode, "next_range")
    return After(
        Following(kind, norm.eps, summed=True, centred=norm.centred),
        reads={"base": total.inputs[0]},
        params=params,
        outs=tuple(outs),
    )


def _constants(norm: QLayerNorm | QFloatNorm, count: Recipe) -> dict[str, Recipe]:
    return {f"next_{letter}": array(f"{norm.name}.{letter}") for letter in "GB"} | {"count": count}
