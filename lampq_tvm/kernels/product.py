"""Integer product with a fused epilogue: the schedulable computation.

    panel[m, k] = A[m, k] + shift, rows and K padded      (what the multiply-add step wants)
    acc[m, n]   = sum_k panel[m, k] * W[n, k]             int32
    out[m, n]   = epilogue(acc[m, n] + correction[n])

Weights come packed as [Np / lanes, Kp / group, lanes, group] with zeros beyond N and K, so whatever the padding of the
activations holds does not matter. `correction[n]` = -shift * sum_k W[n, k] is an argument only where shift is not 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import te, tirx
from tvm.ir import Expr
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from lampq_tvm.kernels.isa import dot_for
from lampq_tvm.kernels.isa.dot import Dot

EPILOGUES = ("codes", "table", "residual", "float", "stream")


@dataclass(frozen=True)
class ProductShape:
    """What a product kernel is built for.

    Attributes:
        rows: M, rows of activations [M, K].
        n, k: output channels and inputs.
        epilogue: one of `EPILOGUES`.
        period: for `stream`, rows of the position table that repeat over the batch; else 0.
    """

    rows: int
    n: int
    k: int
    epilogue: str
    period: int = 0

    @property
    def key(self) -> str:
        """Short text that names the shape (`codes_m197_n576_k192`)."""
        return f"{self.epilogue}_m{self.rows}_n{self.n}_k{self.k}" + (f"_p{self.period}" if self.period else "")


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple that is at least value."""
    return -(-value // multiple) * multiple


def padded(shape: ProductShape, dot: Dot) -> tuple[int, int]:
    """(Np, Kp): channels padded to the lanes, inputs padded to the step's k block."""
    return round_up(shape.n, dot.lanes), round_up(shape.k, dot.k_block)


def requantize(acc: Expr, m: Expr, b: Expr, low: Expr, high: Expr) -> Expr:
    """sat(rne(fma(fl(acc), m, b))) as a float between low and high, both integers, so clamping first is the same."""
    value = T.fma(acc.astype("float32"), m, b)
    return tirx.round(tirx.min(tirx.max(value, low), high))


def product(shape: ProductShape, isa: str, w_bits: int, a_bits: int, tile_rows: int) -> PrimFunc:
    """The unscheduled kernel.

    Arguments of the function, in order: A [M, K] int8; W packed int8; correction [N] int32 (only where the step shifts);
    then by epilogue: `codes` M, B [N] f32, range [2] f32 (lowest and highest code); `table` M, B, table [256] int8;
    `residual` stream [M, N] f32, S, B; `float` S, B; `stream` S, B, pos [period, N] f32; the output [M, N] last.

    Args:
        tile_rows: rows are padded to a multiple of it.
    """
    dot = dot_for(isa, w_bits, a_bits)
    n_padded, k_padded = padded(shape, dot)
    rows_padded = round_up(shape.rows, tile_rows)
    a = te.placeholder((shape.rows, shape.k), "int8", "A")
    w = te.placeholder((n_padded // dot.lanes, k_padded // dot.group, dot.lanes, dot.group), "int8", "W")
    panel = te.compute((rows_padded, k_padded), lambda m, k: _panel(a, m, k, dot), name="panel")
    kq = te.reduce_axis((0, k_padded // dot.group), "kq")
    kr = te.reduce_axis((0, dot.group), "kr")

    def multiply_add(m: Expr, n: Expr) -> Expr:
        left = panel[m, kq * dot.group + kr].astype("int32")
        return te.sum(left * w[n // dot.lanes, kq, n % dot.lanes, kr].astype("int32"), axis=[kq, kr])

    acc = te.compute((rows_padded, n_padded), multiply_add, name="acc")
    correction = [te.placeholder((shape.n,), "int32", "correction")] if dot.shift else []
    constants, out = _epilogue(shape, acc, correction)
    return te.create_prim_func([a, w, *correction, *constants, out])


def _panel(a: te.Tensor, m: Expr, k: Expr, dot: Dot) -> Expr:
    inside = tirx.all(m < a.shape[0], k < a.shape[1])
    code = a[m, k]
    unsigned = dot.a_dtype == "uint8"
    shifted = code.astype("uint8") + tirx.const(dot.shift, "uint8") if unsigned else code.astype(dot.a_dtype)
    return tirx.if_then_else(inside, shifted, tirx.const(0, dot.a_dtype))


def _epilogue(shape: ProductShape, acc: te.Tensor, correction: list[te.Tensor]) -> tuple[list[te.Tensor], te.Tensor]:
    def channel(name: str) -> te.Tensor:
        return te.placeholder((shape.n,), "float32", name)

    def total(m: Expr, n: Expr) -> Expr:
        return acc[m, n] + correction[0][n] if correction else acc[m, n]

    def out(body: object) -> te.Tensor:
        return te.compute((shape.rows, shape.n), body, name="out")

    if shape.epilogue in ("codes", "table"):
        m_, b_ = channel("M"), channel("B")
        if shape.epilogue == "codes":
            bounds = te.placeholder((2,), "float32", "range")
            return [m_, b_, bounds], out(
                lambda m, n: requantize(total(m, n), m_[n], b_[n], bounds[0], bounds[1]).astype("int8")
            )
        table = te.placeholder((256,), "int8", "table")
        low, high = tirx.const(-128.0, "float32"), tirx.const(127.0, "float32")
        # Codes first, in vectors and for padded rows too; looking them up is scalar work.
        code = te.compute(
            (acc.shape[0], shape.n),
            lambda m, n: requantize(total(m, n), m_[n], b_[n], low, high).astype("int8"),
            name="code",
        )
        return [m_, b_, table], out(lambda m, n: table[code[m, n].astype("int32") + 128])
    s_, b_ = channel("S"), channel("B")
    if shape.epilogue == "float":
        return [s_, b_], out(lambda m, n: T.fma(total(m, n).astype("float32"), s_[n], b_[n]))
    if shape.epilogue == "residual":
        stream = te.placeholder((shape.rows, shape.n), "float32", "stream")
        return [stream, s_, b_], out(lambda m, n: stream[m, n] + T.fma(total(m, n).astype("float32"), s_[n], b_[n]))
    pos = te.placeholder((shape.period, shape.n), "float32", "pos")
    return [s_, b_, pos], out(
        lambda m, n: pos[m % shape.period, n] + T.fma(total(m, n).astype("float32"), s_[n], b_[n])
    )
