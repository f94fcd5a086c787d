"""Cases of the small CUDA kernels around products and attention: buffers, and the bytes that the oracle expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lampq_tvm.kernels.cuda import heads, tokens
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.pool import PoolShape, build_pool
from lampq_tvm.kernels.cuda.regroup import RegroupShape, build_regroup
from lampq_tvm.kinds import Kind
from lampq_tvm.oracle import ops
from lampq_tvm.tune.cuda.case import CODES, EPS, CudaCase, case_of, packed_rows

Named = tuple[str, Callable[[str], CudaKernel], CudaCase]


def small_kernels() -> Iterator[Named]:
    """(name, builder, case) of each kind over a plain size and an odd one."""
    for i, (images, count, head_count, head_dim) in enumerate(((2, 197, 3, 64), (1, 26, 3, 12))):
        rng, rows, width = np.random.default_rng(i), images * count, 3 * head_count * head_dim
        qkv, inv = _floats(rng, rows, width), rng.uniform(10, 60, (3, head_count)).astype(np.float32)
        name, b = f"r{rows}_h{head_count}x{head_dim}", {"qkv": qkv, "inv": inv, "range": CODES}
        turned = {"cos": _floats(rng, count, head_dim), "sin": _floats(rng, count, head_dim)}
        turned["partner"] = rng.permutation(head_dim).astype(np.int32)
        wanted = ops.rotary(qkv.reshape(images, count, width), *turned.values(), inv, 8).reshape(rows, width)
        sizes = (rows, count, head_count, head_dim, Kind.INT8)
        yield f"rotary_{name}", lambda n, s=sizes: heads.build_rotary(*s, name=n), case_of({**b, **turned}, None, wanted)
        wanted = ops.unit_heads(qkv, inv, head_count, EPS, 8)
        unit = (rows, head_count, head_dim, EPS, Kind.INT8)
        yield f"unit_{name}", lambda n, s=unit: heads.build_unit_heads(*s, name=n), case_of(b, None, wanted)
        affine, table = np.array([9, -3], np.float32), _floats(rng, 256)
        wanted = ops.to_codes(qkv, affine, 8)
        coded, sizes = {"x": qkv, "affine": affine, "range": CODES}, (rows, width, Kind.INT8)
        yield f"codes_{name}", lambda n, s=sizes: tokens.build_to_codes(*s, n), case_of(coded, None, wanted)
        gates, at = {"g": 30 * qkv, "x": qkv, "table": table}, width // 3
        gated = ops.gate(gates["g"][:, :at], qkv[:, at : 2 * at], table)
        gate, coded = (
            tokens.GateShape(rows, width, width, 0, at, at),
            tokens.GateShape(rows, width, width, 0, at, at, Kind.INT8),
        )
        yield f"gate_{name}", lambda n, s=gate: tokens.build_gate(s, n), case_of(gates, None, gated)
        gates |= {"affine": affine, "range": CODES}
        wanted = ops.to_codes(gated, affine, 8)
        yield f"gate_codes_{name}", lambda n, s=coded: tokens.build_gate(s, n), case_of(gates, None, wanted)
        yield _pool(rng, PoolShape(images, count, head_count, 1 + i, head_dim))
        yield _regroup(rng, RegroupShape(images, count, 49, 1 + 3 * i, 2 * head_dim, 8, 8))


def _pool(rng: np.random.Generator, shape: PoolShape) -> Named:
    channels = shape.heads * shape.head_dim
    kv, query = _codes(rng, shape.images * shape.tokens, 2 * channels), _codes(rng, shape.heads, shape.queries * shape.head_dim)
    P = np.sort(rng.integers(0, 256, 256).astype(np.uint8))[::-1].copy()
    P[0] = 255
    S = (255 / (shape.head_dim * 128 * 128) * rng.uniform(0.5, 3, shape.heads)).astype(np.float32)
    M, B = (rng.uniform(low, high, channels).astype(np.float32) for low, high in ((0.5, 2), (-6, 6)))
    asked = query.reshape(shape.heads, shape.queries, shape.head_dim)
    wanted = ops.attention_pool(kv.reshape(shape.images, shape.tokens, -1), asked, S, P, M, B, 8).reshape(-1, channels)
    buffers = {"kv": packed_rows(kv, 8), "query": query, "S": S, "P": P, "M": M, "B": B, "range": CODES}
    return f"pool_{shape.key}", lambda name: build_pool(shape, name=name), case_of(buffers, None, wanted)


def _regroup(rng: np.random.Generator, shape: RegroupShape) -> Named:
    x = _codes(rng, shape.images * shape.rows, shape.channels)
    index, fill = rng.integers(-1, shape.rows, (shape.taken, shape.parts)).astype(np.int32), np.array([-7], np.int8)
    found = ops.regroup(x.reshape(shape.images, shape.rows, -1), index, fill, shape.rows)
    wanted = found.reshape(-1, found.shape[-1])
    buffers = {"x": packed_rows(x, 8), "index": index, "fill": fill}
    return f"regroup_{shape.key}", lambda name: build_regroup(shape, name), case_of(buffers, None, wanted)


def _codes(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.integers(-128, 128, (rows, columns)).astype(np.int8)


def _floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 2, shape).astype(np.float32)
