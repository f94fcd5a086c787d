"""Rows of activations laid out for a register tile: [steps along K, rows * group], what the multiply-add reads in one load."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.emit import interleave, pick, ramp
from lampq_tvm.kernels.isa.dot import Dot
from lampq_tvm.kernels.isa.tables import lay_out_tables
from lampq_tvm.kernels.shapes import round_up

BYTES = 16  # of a row that are moved at once


def panel_shape(dot: Dot, tiles: int, rows: int, steps: int) -> tuple[int, int, int]:
    """Shape of panels: [tiles, steps, rows * group], or what else the multiply-add reads of a row.

    Rows and groups are one axis: TVM shrinks a buffer to what it sees read, and a read across two axes escapes it.
    """
    return tiles, round_up(steps, dot.step_block), dot.panel_rows(rows) * dot.row_items


def lay_out(
    dot: Dot, panel: Any, tile: Expr | int, source: Any, row: Expr, column: Expr | int, rows: int, depth: int, excess: int
) -> None:
    """panel[tile, k // group, r * group + k % group] = source[row + r, column + k] + excess (its sign turned where the
    multiply-add wants that), for r < rows and k < depth.

    What lies beyond the rows and the depth may hold anything. Codes are turned 16 at a time, some rows together: a square of
    steps and rows, then half as many rows, down to two. Where weights are looked up, a row's inputs become tables of them.
    """
    if dot.layout == "pairs":
        lay_out_tables(panel, tile, source, row, column, rows, depth)
        return
    group, size = dot.group, np.dtype(dot.a_dtype).itemsize
    blocks, turned = depth // BYTES, _turns(rows, BYTES // (group * size))
    for first, count in turned:
        with T.serial(0, blocks) as block:
            codes = [source.vload([row + first + i, column + block * BYTES], f"{source.dtype}x{BYTES}") for i in range(count)]
            part = [T.Bind(T.reinterpret(_shifted(dot, c, BYTES, excess), dtype=f"int8x{BYTES * size}")) for c in codes]
            each = BYTES // (count * group)  # steps of a turned vector
            for j, vector in enumerate(interleave(part, BYTES * size, group * size)):
                found = T.reinterpret(vector, dtype=f"{dot.a_dtype}x{BYTES}")
                for i in range(each):
                    lanes = list(range(count * group * i, count * group * (i + 1)))
                    step = block * (BYTES // group) + j * each + i
                    T.buffer_store(panel, pick([found], lanes), [tile, step, ramp(first * group, count * group)])
    for r in range(rows):
        done = blocks * (BYTES // group) if r < sum(count for _, count in turned) else 0
        with T.serial(done, depth // group) as k:
            codes = source.vload([row + r, column + k * group], f"{source.dtype}x{group}")
            T.buffer_store(panel, _shifted(dot, codes, group, excess), [tile, k, ramp(r * group, group)])
        if rest := depth % group:
            with T.serial(0, rest) as i:
                code = _shifted(dot, source[row + r, column + depth - rest + i], 1, excess)
                T.buffer_store(panel, code, [tile, depth // group, r * group + i])


def _turns(rows: int, most: int) -> list[tuple[int, int]]:
    """First row and number of rows that are turned together.

    >>> _turns(7, 4)
    [(0, 4), (4, 2)]
    """
    found, first = [], 0
    while most > 1:
        while rows - first >= most:
            found.append((first, most))
            first += most
        most //= 2
    return found


def _shifted(dot: Dot, codes: Expr, lanes: int, excess: int) -> Expr:
    value = T.Cast(dot.a_dtype if lanes == 1 else f"{dot.a_dtype}x{lanes}", codes)
    if not excess and not dot.negate:
        return value
    shift = tirx.const(excess, dot.a_dtype)
    shift = T.broadcast(shift, lanes) if lanes > 1 else shift
    return shift - value if dot.negate else value + shift
