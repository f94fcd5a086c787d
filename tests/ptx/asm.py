"""Single instructions in a kernel: operands from a buffer, results to a buffer, every value a pattern of bits."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from lampq_tvm.compiler.cuda.nvrtc import compile_text
from lampq_tvm.ptx import Memory, launch, parse, unknown

LETTERS = {16: ("h", "unsigned short"), 32: ("r", "unsigned"), 64: ("l", "unsigned long long")}
THREADS = 64


class Case(NamedTuple):
    """An instruction and what the manual says of it.

    `asm` holds %0 for the result and %1, ... for the operands; `widths` their bits, the result's first; `says` gets the
    operands' bits as ints and returns the result's.
    """

    asm: str
    widths: tuple
    says: object


class Bench:
    """A kernel of cases; `check` runs it on patterns and compares every lane with plain Python."""

    def __init__(self, cases, arch, major):
        self.cases = cases
        parts = []
        for i, case in enumerate(cases):
            letter, kind = LETTERS[case.widths[0]]
            ins = ", ".join(f'"{LETTERS[w][0]}"(({LETTERS[w][1]})v{n})' for n, w in enumerate(case.widths[1:]))
            parts.append(f'{{ {kind} d; asm volatile("{case.asm}" : "={letter}"(d) : {ins}); out[{i * THREADS} + t] = d; }}')
        loads = " ".join(f"u64 v{n} = in[{n * THREADS} + t];" for n in range(4))
        body = "\n".join(["int t = threadIdx.x;", loads, *parts])
        text = f'typedef unsigned long long u64;\nextern "C" __global__ void k(const u64* in, u64* out) {{ {body} }}'
        self.module = parse(compile_text(text, arch, major).ptx)
        assert not unknown(self.module)

    def check(self, patterns):
        values = np.resize(np.array(patterns, np.uint64), (4, THREADS))
        memory = Memory()
        source, target = memory.alloc(values.nbytes), memory.alloc(8 * len(self.cases) * THREADS)
        memory.write(source, values)
        launch(self.module, "k", (1, 1, 1), (THREADS, 1, 1), 0, [source, target], memory)
        found = memory.read(target, 8 * len(self.cases) * THREADS).view(np.uint64).reshape(-1, THREADS)
        for case, row in zip(self.cases, found, strict=True):
            for lane in range(THREADS):
                given = [int(v) & (1 << w) - 1 for v, w in zip(values[:, lane], case.widths[1:], strict=False)]
                says = case.says(*given) & (1 << case.widths[0]) - 1
                assert int(row[lane]) == says, (case.asm, [hex(g) for g in given], hex(int(row[lane])), hex(says))


def signed(x, bits):
    """The low bits as a two's complement number."""
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


INTEGER_EDGES = [0, 1, 2, 7, 8, 31, 32, 33, 63, 64, 127, 128, 255, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
INTEGER_EDGES += [0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF80000000, 0xFFFFFFFFFFFF8000]
integers = st.lists(st.sampled_from(INTEGER_EDGES) | st.integers(0, 2**64 - 1), min_size=61, max_size=61)
