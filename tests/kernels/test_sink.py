"""A table that decodes codes stands behind every producer of them: codes on the 8-bit grid, then what the table says."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from lampq_tvm.kernels.attention import AttentionShape
from lampq_tvm.kernels.elementwise import build_look_up, build_to_codes
from lampq_tvm.kernels.heads import build_attention_pool
from lampq_tvm.kernels.rotary import build_rotary
from lampq_tvm.kernels.shapes import ProductShape
from lampq_tvm.kernels.unit_heads import build_unit_heads
from lampq_tvm.oracle import ops
from lampq_tvm.quantizers.carried import CODES, carried
from lampq_tvm.quantizers.protocol import find
from tests.kernels import data
from tests.kernels.machine import Case
from tests.kernels.products import Product, case_of, inputs
from tests.kernels.test_attention import Attention, attention_case
from tests.kernels.test_layernorm import layernorm_case
from tests.quantizers import tabled  # noqa: F401 (registers its quantizers)

TABLE = carried(find("squares", "activations").candidates(-3.0, 5.0, 4)[0]).tensors["table"]


def tabled_case(case: Case, **more: bool) -> Case:
    """The case with the table in place of its range of 8-bit codes."""
    place = next(i for i, array in enumerate(case.args) if array.shape == (2,) and tuple(array) == (-128, 127))
    args = (*case.args[:place], TABLE, *case.args[place + 1 :])
    build = functools.partial(case.build, table=True, **more)
    expected = ops.apply_table(case.expected, TABLE)
    return dataclasses.replace(case, kernel=f"{case.kernel} table", build=build, args=args, expected=expected)


def test_the_table_is_uneven():
    """So that codes that were stored as they are would be seen."""
    assert len(np.unique(TABLE)) == 16 and (TABLE != CODES).mean() > 0.9


def test_layernorms(machine):
    sizes = ((1, 1), (5, 31), (7, 64), (4, 192), (3, 333))
    machine.check(tabled_case(layernorm_case(machine.isa, *size, 1e-6, 8, True, size[1])) for size in sizes)


def test_attention(machine):
    """Heads of whole registers, of part of one, and of one channel."""
    shapes = (
        AttentionShape(2, 21, 2, 35),
        AttentionShape(1, 17, 1, 64),
        AttentionShape(1, 3, 2, 1),
        AttentionShape(2, 16, 2, 32, 2),
    )
    machine.check(tabled_case(attention_case(Attention(shape, bits), machine.isa)) for shape in shapes for bits in (4, 8))


def test_floats(machine):
    rng, cases = np.random.default_rng(0), []
    for rows, channels in ((1, 1), (5, 7), (3, 64), (2, 333)):
        x, affine = rng.normal(0, 3, (rows, channels)).astype(np.float32), np.array([20.3, -5], np.float32)
        build = functools.partial(build_to_codes, rows, channels, machine.isa)
        args = x, affine, data.code_range(8)
        cases.append(tabled_case(Case("to_codes", f"to_codes {x.shape}", build, args, ops.to_codes(x, affine, 8))))
    machine.check(cases)


def test_constant_queries(machine):
    rng, (batch, tokens, heads, queries, dim) = np.random.default_rng(0), (2, 9, 3, 2, 20)
    kv = data.codes(rng, batch * tokens, 2 * heads * dim, 8)
    query = data.codes(rng, heads * queries, dim, 8).reshape(heads, queries, dim)
    S, P = np.full(heads, 255 / (dim * 4.0**7), np.float32), np.arange(255, -1, -1).astype(np.uint8)
    M, B = np.full(heads * dim, 0.8, np.float32), np.zeros(heads * dim, np.float32)
    expected = ops.attention_pool(kv.reshape(batch, tokens, -1), query, S, P, M, B, 8).reshape(batch * queries, -1)
    build = functools.partial(build_attention_pool, batch, tokens, heads, queries, dim, machine.isa)
    machine.check([tabled_case(Case("pool", "pool", build, (kv, query, S, P, M, B, data.code_range(8)), expected))])


def test_heads(machine):
    """Turned, and over their lengths: heads of whole registers and of parts."""
    cases = []
    for tokens, heads, dim in ((3, 2, 16), (5, 3, 34), (1, 1, 2)):
        rng, name = np.random.default_rng(dim), f"{tokens} {heads} {dim}"
        x, inv = rng.normal(0, 2, (1, tokens, 3 * heads * dim)).astype(np.float32), np.full((3, heads), 20, np.float32)
        cos, sin = (rng.uniform(-1, 1, (tokens, dim)).astype(np.float32) for _ in range(2))
        partner, bounds = np.arange(dim) ^ 1, data.code_range(8)
        build = functools.partial(build_rotary, tokens, tokens, heads, tuple(partner.tolist()), machine.isa)
        wanted = ops.rotary(x, cos, sin, partner.astype(np.int32), inv, 8)[0]
        cases.append(tabled_case(Case(f"rotary {name}", f"rotary {name}", build, (x[0], cos, sin, inv, bounds), wanted)))
        build = functools.partial(build_unit_heads, tokens, heads, dim, 1e-12, machine.isa)
        wanted = ops.unit_heads(x, inv, heads, 1e-12, 8)[0]
        cases.append(tabled_case(Case(f"unit {name}", f"unit {name}", build, (x[0], inv, bounds), wanted)))
    machine.check(cases)


def test_products(machine):
    """The look-up that an activation function takes: of a whole chunk at once."""
    cases = []
    for sizes in ((7, 33, 40), (5, 128, 64), (1, 1, 1)):
        product = Product(ProductShape(*sizes, "table"))
        a, w, rng = inputs(product)
        acc = ops.product_acc(a, w)
        M, B = data.requantizer(rng, acc)
        expected = ops.apply_table(ops.requantize(acc, M, B, 8), TABLE)
        cases.append(case_of(product, machine.isa, a, w, (M, B, TABLE), expected))
    machine.check(cases)


def test_planes(machine):
    """Both planes of levels of 16 bits."""
    wide = carried(find("powers", "activations").candidates(0.0, 5.0, 4)[0])
    rng, cases = np.random.default_rng(0), []
    for rows, channels in ((1, 1), (5, 17), (3, 200)):
        codes = wide.tensors["table"][rng.integers(0, 256, (rows, channels))]
        for table in wide.planes:
            build = functools.partial(build_look_up, rows, channels, machine.isa)
            cases.append(Case("look_up", f"look_up {codes.shape}", build, (codes, table), ops.apply_table(codes, table)))
    machine.check(cases)
