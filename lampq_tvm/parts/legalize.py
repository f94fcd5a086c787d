"""Matrix products and convolutions as packed products: the second operand in panels of neighbouring columns, zeros behind.

    panels[b, j, k, v] = B[b, k, j * width + v]        C[b, i, n] = sum over k of A[b, i, k] panels[b, n // width, k, n % width]

A convolution is one with its patches as second operand, of which no plain copy is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import relax, te, tirx
from tvm.ir import Expr
from tvm.relax.transform.legalize_ops import linear_algebra, nn

Legalize = Callable[[relax.BlockBuilder, relax.Call], Expr]
PRODUCT, RESULT = "product", "product_result"  # blocks' names, by which the schedule finds them
LARGEST_RANK = 4


def rules(width: int, height: int) -> dict[str, Legalize]:
    """Legalizations for panels of `width` columns that are worked on `height` rows at a time."""

    def matmul(builder: relax.BlockBuilder, call: relax.Call) -> Expr:
        return _matmul(builder, call, width, height)

    def conv2d(builder: relax.BlockBuilder, call: relax.Call) -> Expr:
        return _conv2d(builder, call, width, height)

    return {"relax.matmul": matmul, "relax.nn.conv2d": conv2d}


def _ints(values: Sequence[object]) -> list[int]:
    return [int(v) for v in values]  # type: ignore[call-overload]


def _matmul(builder: relax.BlockBuilder, call: relax.Call, width: int, height: int) -> Expr:
    """[.., M, K] times [.., K, N]: with one matrix for all, or one each."""
    a, b = call.args
    left, right, out = (_ints(x.ty.shape) for x in (a, b, call))
    if len(left) < 2 or len(right) < 2 or len(out) > LARGEST_RANK:
        return linear_algebra._matmul(builder, call)
    k, n = right[-2:]
    if math.prod(right[:-2]) == 1:
        rows = math.prod(left[:-1])
        flat = builder.emit(relax.op.reshape(a, (1, rows, k)))
        panels = _panels(builder, builder.emit(relax.op.reshape(b, (1, k, n))), width)
        return relax.op.reshape(builder.emit(_product(builder, flat, panels, (1, rows, n), height)), out)
    if left[:-2] != right[:-2]:
        return linear_algebra._matmul(builder, call)
    count, rows = math.prod(left[:-2]), left[-2]
    first, second = (builder.emit(relax.op.reshape(x, (count, *s[-2:]))) for x, s in ((a, left), (b, right)))
    product = _product(builder, first, _panels(builder, second, width), (count, rows, n), height)
    return relax.op.reshape(builder.emit(product), out)


def _panels(builder: relax.BlockBuilder, b: Expr, width: int) -> Expr:
    """[B, K, N] in panels."""
    count, k, n = _ints(b.ty.shape)

    def pack(x: te.Tensor) -> te.Tensor:
        def element(i: Expr, j: Expr, row: Expr, lane: Expr) -> Expr:
            column = j * width + lane
            zero = tirx.const(0, "float32")
            return x[i, row, column] if n % width == 0 else tirx.if_then_else(column < n, x[i, row, column], zero)

        return te.compute((count, -(-n // width), k, width), element, name="panels")

    return builder.emit(builder.call_te(pack, b, primfunc_name_hint="panels"))


def _product(builder: relax.BlockBuilder, a: Expr, panels: Expr, out: tuple[int, int, int], height: int) -> relax.Call:
    """A [B or 1, M, K] times panels [B or 1, N / width, K, width], with rows repeated up to a multiple of `height`."""
    count, rows, _ = out
    k, width = _ints(panels.ty.shape)[2:]
    columns = _ints(panels.ty.shape)[1]
    tile = _height(rows, height)
    shared = [_ints(x.ty.shape)[0] == 1 for x in (a, panels)]

    def compute(x: te.Tensor, y: te.Tensor) -> te.Tensor:
        axis = te.reduce_axis((0, k), name="k")

        def element(b: Expr, i: Expr, j: Expr, lane: Expr) -> Expr:
            row = i if rows % tile == 0 else tirx.min(i, rows - 1)
            return te.sum(x[0 if shared[0] else b, row, axis] * y[0 if shared[1] else b, j, axis, lane], axis=[axis])

        product = te.compute((count, -(-rows // tile) * tile, columns, width), element, name=PRODUCT)
        return te.compute(out, lambda b, i, n: product[b, i, n // width, n % width], name=RESULT)

    return builder.call_te(compute, a, panels, primfunc_name_hint=PRODUCT)


def _height(rows: int, most: int) -> int:
    """Rows that are worked on at a time: as many as leave nothing over, where that is at least half of the most."""
    return next((t for t in range(most, most // 2, -1) if rows % t == 0), most) if rows >= most else rows


def _conv2d(builder: relax.BlockBuilder, call: relax.Call, width: int, height: int) -> Expr:
    """Weights [O, C kh kw] times patches [C kh kw, OH OW] of each image."""
    x, weight = call.args
    attrs = call.attrs
    images, _, high, wide = _ints(x.ty.shape)
    outputs, channels, kh, kw = _ints(weight.ty.shape)
    down, across = _ints(call.ty.shape)[2:]
    if int(attrs.groups) != 1 or attrs.data_layout != "NCHW":
        return nn._nn_conv2d(builder, call)
    (sh, sw), (top, left, bottom, right), (dh, dw) = (_ints(v) for v in (attrs.strides, attrs.padding, attrs.dilation))
    k, n = channels * kh * kw, down * across

    def patches(source: te.Tensor) -> te.Tensor:
        def element(image: Expr, j: Expr, row: Expr, lane: Expr) -> Expr:
            column = j * width + lane
            channel, r, s = row // (kh * kw), row // kw % kh, row % kw
            y, z = column // across * sh + r * dh - top, column % across * sw + s * dw - left
            inside = [column < n] if n % width else []
            inside += ([y >= 0] if top else []) + ([y < high] if bottom else [])
            inside += ([z >= 0] if left else []) + ([z < wide] if right else [])
            value = source[image, channel, y, z]
            return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, "float32")) if inside else value

        return te.compute((images, -(-n // width), k, width), element, name="panels")

    panels = builder.emit(builder.call_te(patches, x, primfunc_name_hint="patches"))
    matrix = builder.emit(relax.op.reshape(weight, (1, outputs, k)))
    return relax.op.reshape(builder.emit(_product(builder, matrix, panels, (images, outputs, n), height)), _ints(call.ty.shape))
