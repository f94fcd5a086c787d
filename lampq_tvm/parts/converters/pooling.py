"""Largest values of regions that need not be of one size."""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax, te, tirx
from tvm.ir import Expr

from lampq_tvm.parts.converters.emit import computed, lengths


def adaptive_max_pool2d(node: fx.Node, importer: Any) -> Expr:
    """The largest of rows i H / OH (rounded down) to (i + 1) H / OH (rounded up), columns alike; and the first place of it."""
    x, (down, across) = importer.retrieve_args(node)[:2]
    images, channels, high, wide = lengths(x)
    out = (images, channels, down, across)
    most = (-(-high // down) + 1, -(-wide // across) + 1)  # rows and columns of a region, at most

    def region(source: te.Tensor, i: Any, j: Any, r: Any, s: Any) -> tuple[Any, Any, Any]:
        """Row, column, and whether they are in the region."""
        y, z = i * high // down + r, j * wide // across + s
        inside = tirx.all(y < (i * high + high + down - 1) // down, z < (j * wide + wide + across - 1) // across)
        return tirx.min(y, high - 1), tirx.min(z, wide - 1), inside

    def largest(source: te.Tensor) -> te.Tensor:
        r, s = (te.reduce_axis((0, n), name=name) for n, name in zip(most, "rs", strict=True))

        def element(b: Any, c: Any, i: Any, j: Any) -> Any:
            y, z, inside = region(source, i, j, r, s)
            return te.max(tirx.Select(inside, source[b, c, y, z], tirx.min_value(source.dtype)), axis=[r, s])

        return te.compute(out, element, name="largest")

    def places(source: te.Tensor, found: te.Tensor) -> te.Tensor:
        r, s = (te.reduce_axis((0, n), name=name) for n, name in zip(most, "rs", strict=True))

        def element(b: Any, c: Any, i: Any, j: Any) -> Any:
            y, z, inside = region(source, i, j, r, s)
            here = tirx.all(inside, source[b, c, y, z] == found[b, c, i, j])
            return te.min(tirx.Select(here, tirx.Cast("int64", y * wide + z), tirx.const(high * wide, "int64")), axis=[r, s])

        return te.compute(out, element, name="place")

    found = computed(importer, largest, x, name="adaptive_max")
    return relax.Tuple([found, computed(importer, places, x, found, name="adaptive_max_places")])


CONVERTERS = {"adaptive_max_pool2d.default": adaptive_max_pool2d}
