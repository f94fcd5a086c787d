"""Arm register tiles in assembly: `ld1` brings up to four registers and moves its address on, and no sum leaves its register.

LLVM has no way to be told which registers to take: it turns loads of several registers into pairs, or runs out of registers
around them. A tile's loop along K is therefore a function of a few lines, inlined where it is called; what the sums become is
LLVM's work again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm import tirx
from tvm.ir import Expr, StringImm
from tvm.script.ir_builder import tirx as T

from lampq_tvm.kernels.isa.arm import Quads
from lampq_tvm.kernels.isa.dot import Dot, Tile
from lampq_tvm.kernels.registers import Registers
from lampq_tvm.kernels.shapes import round_up

MOST = 4  # registers that one load brings
BYTES = 16  # of a register
NEWLINE = "\\0A"


@dataclass(frozen=True)
class Loop:
    """What a tile's assembly is written for.

    Attributes:
        rows, vectors: of the tile.
        steps, unroll: along K, and how many of them are written out in the loop's body.
        a_stride, w_stride: bytes of a step of the panel, and of a weight vector.
    """

    rows: int
    vectors: int
    steps: int
    unroll: int
    a_stride: int
    w_stride: int

    @property
    def name(self) -> str:
        """Of its function."""
        return f"{self.rows}x{self.vectors}_{self.steps}u{self.unroll}_{self.a_stride}_{self.w_stride}"


class Assembled(Quads):
    """Multiply-adds that are written in assembly; registers of a weight vector that no channel needs are left out."""

    @property
    def row_block(self) -> int:
        """Rows of a panel are padded to a multiple of it."""
        return 2

    @property
    def unroll(self) -> int:
        """Steps along K that are written out unless tuning finds better."""
        return 16

    @property
    def spare(self) -> int:
        """Accumulator registers beyond `accumulators` that may still pay off: there are none."""
        return 0

    def fits(self, rows: int, vectors: int) -> bool:
        """Whether a tile can be written at all: sums, the panel's rows and a load of weights all have registers."""
        panel = -(-self.panel_rows(rows) * self.group * self.step_block // BYTES)
        slots, weights = self.slots(rows, vectors), min(MOST, self.lanes * self.group // BYTES)
        return slots <= self.accumulators and slots + panel + weights <= self.level.registers

    def part(self, channels: int) -> Dot:
        """The multiply-add for tiles that need no more than the first channels of a weight vector."""
        return replace(self, lanes=round_up(channels, self.acc_lanes))

    def multiply(self, tile: Tile) -> None:
        """Write tile.acc = the tile's products over all steps."""
        turns, places = self.turned(tile.rows, tile.vectors)
        kept = places[: tile.rows * tile.vectors * self.lanes // self.acc_lanes]  # rows that pad the panel stay out of memory
        self._run(tile, tile.acc, 0, tile.groups, turns, kept)

    def _run(self, tile: Tile, sums: Registers, first: Expr | int, steps: int, turns: list[str], kept: list[int]) -> None:
        """Write sums = the products over some steps from the first one on.

        Args:
            sums: in the order of `kept`.
            turns: lines after the last step.
            kept: the register in which each sum ends.
        """
        rows, vectors, unroll = tile.rows, tile.vectors, round_up(tile.unroll, self.step_block)
        loop = Loop(rows, vectors, steps, unroll, tile.a.stride, tile.weights[0].stride)
        if not self.fits(rows, vectors):
            raise AssertionError(f"a tile of {rows} rows and {vectors} vectors leaves too few registers for the operands")
        name = f"{self.name}_{self.lanes}_{loop.name}"
        text = _function(name, vectors, [*self._lines(loop, len(kept)), *turns], kept, self.level.registers)
        with T.attr(tirx.const(0, "int32"), "pragma_import_llvm", StringImm(text)):
            operands = [operand.address(first) for operand in (tile.a, *tile.weights)]
            T.evaluate(T.call_extern(name, sums.address, *operands, dtype="int32"))

    def held(self, rows: int, vectors: int) -> int:
        """Registers that the sums take up while steps are added."""
        return self.slots(rows, vectors)

    def turned(self, rows: int, vectors: int) -> tuple[list[str], list[int]]:
        """Lines that put sums in order, and the register in which each of them ends."""
        return [], list(range(self.slots(rows, vectors)))

    def _lines(self, loop: Loop, outputs: int) -> Iterator[str]:
        """Clear the sums, add whole bodies in a loop, then the steps that are left over.

        Args:
            outputs: operands before the addresses and the counter.
        """
        yield from (f"movi v{slot}.2d, #0" for slot in range(self.held(loop.rows, loop.vectors)))
        whole, counter = loop.steps // loop.unroll, outputs + 1 + loop.vectors
        if whole > 1:
            yield f"mov ${{{counter}:w}}, #{whole}"
            yield "1:"
            yield from self._steps(loop, outputs, loop.unroll)
            yield f"subs ${{{counter}:w}}, ${{{counter}:w}}, #1"
            yield "b.ne 1b"
        yield from self._steps(loop, outputs, loop.steps - (whole * loop.unroll if whole > 1 else 0))

    def _steps(self, loop: Loop, outputs: int, count: int) -> Iterator[str]:
        a, *weights = (f"${outputs + i}" for i in range(1 + loop.vectors))
        for done in range(0, count, self.step_block):
            yield from self.step(loop, a, weights, min(self.step_block, count - done))

    @abstractmethod
    def step(self, loop: Loop, a: str, weights: list[str], count: int) -> Iterator[str]:
        """Lines of `count` steps along K, `step_block` at most.

        Args:
            a, weights: the addresses' registers.
        """


def registers(address: str, first: int, count: int, stride: int = 0) -> Iterator[str]:
    """Lines that load v[first], v[first + 1], .. from an address and move it on.

    Args:
        stride: bytes that it is moved on by, where these are not just what is loaded.
    """
    for at in range(0, count, MOST):
        size = min(MOST, count - at)
        names = ", ".join(f"v{first + at + i}.16b" for i in range(size))
        rest = stride - BYTES * at if stride and at + size == count else BYTES * size
        if rest == BYTES * size:
            yield f"ld1 {{ {names} }}, [{address}], #{rest}"
        else:
            yield f"ld1 {{ {names} }}, [{address}]"
            yield f"add {address}, {address}, #{rest}"


def _function(name: str, vectors: int, lines: list[str], places: list[int], registers: int) -> str:
    """A function of the sums' address, the panel's and each weight vector's, as LLVM reads it.

    Args:
        places: the register in which each sum ends that is stored; after them the operands are the addresses and a counter.
        registers: of a core; all of them may be written.
    """
    quad, pointers = "<4 x i32>", 1 + vectors
    result = "{ " + ", ".join([quad] * len(places) + ["ptr"] * pointers + ["i32"]) + " }"
    given = ", ".join(f"ptr %p{i}" for i in range(pointers))
    outputs = [*(f"={{v{place}}}" for place in places), *["=&r"] * (pointers + 1)]
    clobbered = [f"~{{v{i}}}" for i in range(registers) if i not in places]
    wanted = ",".join([*outputs, *(str(len(places) + i) for i in range(pointers)), *clobbered, "~{cc}"])
    text = [f"define i32 @{name}(ptr %sums, {given}) alwaysinline {{"]
    text.append(f' %all = call {result} asm sideeffect "{NEWLINE.join(lines)}", "{wanted}"({given}) #0')
    for i in range(len(places)):
        text += [f" %s{i} = extractvalue {result} %all, {i}", f" %at{i} = getelementptr {quad}, ptr %sums, i64 {i}"]
        text.append(f" store {quad} %s{i}, ptr %at{i}, align 16")
    return "\n".join([*text, " ret i32 0", "}", "attributes #0 = { nounwind memory(read) }"])
