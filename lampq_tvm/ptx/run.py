"""Launch a kernel on the interpreter, as a driver would on a GPU."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from lampq_tvm.errors import UsageError
from lampq_tvm.ptx.handover import Handover
from lampq_tvm.ptx.lanes import Dim, Lanes
from lampq_tvm.ptx.machine import Layout, Machine, layout
from lampq_tvm.ptx.memory import Memory
from lampq_tvm.ptx.module import Entry, Module, Param, Register
from lampq_tvm.ptx.program import bind
from lampq_tvm.ptx.schedule import Schedule
from lampq_tvm.ptx.types import Array, bits_of

CHUNK_BYTES = 256 << 20
CHUNK_LANES = 1 << 15
MOST_THREADS = 1024
MOST_STEPS = 10_000_000


def launch(
    module: Module,
    entry: str,
    grid: Dim,
    block: Dim,
    shared_bytes: int,
    params: Sequence[int | float | bytes],
    memory: Memory,
    *,
    check: bool = True,
) -> int:
    """Run a kernel over a grid; how many instructions its warps executed.

    Args:
        module: parsed PTX.
        entry: name of the kernel.
        grid: blocks by x, y, z.
        block: threads of a block by x, y, z.
        shared_bytes: dynamic shared memory of a block.
        params: a value for each parameter: integers (pointers too) and floats by its type, bytes for a struct.
        memory: global memory, in which the pointers lie.
        check: watch shared memory for races, unwritten bytes and copies that were not waited for, global memory for races
            between blocks.

    Raises:
        KernelError: the kernel did what no GPU allows; the message names it, the line, the thread and the address.
        UnknownInstructionError: an instruction has no meaning here.
        UsageError: no such kernel, or parameters that do not fit it.
    """
    if entry not in module.entries:
        raise UsageError("no such kernel", where=entry, hint=f"there are {', '.join(module.entries)}")
    kernel = module.entries[entry]
    if min(*grid, *block) < 1 or block[0] * block[1] * block[2] > MOST_THREADS:
        raise UsageError(f"a grid of {grid} blocks of {block} threads cannot be launched", where=entry)
    values = _pack(kernel, params)
    variables = {**module.variables, **kernel.variables}
    placed = {param.name: param.offset for param in kernel.params}
    own = {}
    for each in variables.values():
        if each.data is not None:
            own[each.name] = memory.alloc(max(each.size, 1))
            memory.write(own[each.name], each.data)
    place = layout(variables, shared_bytes, {**placed, **own})
    try:
        return _run(kernel, grid, block, place, values, memory, check)
    finally:
        for address in own.values():
            memory.free(address)


def _run(kernel: Entry, grid: Dim, block: Dim, place: Layout, values: Array, memory: Memory, check: bool) -> int:
    executed = 0
    total = grid[0] * grid[1] * grid[2]
    chunk = _chunk(kernel, Lanes(grid, block, 0, 1), place)
    handover = Handover(memory.size, total) if check and total > 1 else None
    for first in range(0, total, chunk):
        lanes = Lanes(grid, block, first, min(chunk, total - first))
        machine = Machine(lanes, memory, place, values, check, handover)
        schedule = Schedule(bind(kernel.instructions, machine), machine, kernel.name, MOST_STEPS)
        schedule.run()
        executed += schedule.executed
    return executed


def _chunk(kernel: Entry, lanes: Lanes, place: Layout) -> int:
    """Blocks that run at once."""
    registers = {o for i in kernel.instructions for o in i.operands if isinstance(o, Register)}
    width = sum(bits_of(r.type) // 8 or 1 for r in registers) + place.local_bytes + 32
    block = lanes.padded * width + 3 * place.shared_bytes
    return max(1, min(CHUNK_BYTES // block, CHUNK_LANES // lanes.padded))


def _pack(kernel: Entry, params: Sequence[int | float | bytes]) -> Array:
    """The parameter block."""
    if len(params) != len(kernel.params):
        raise UsageError(f"{len(kernel.params)} parameters are needed, not {len(params)}", where=kernel.name)
    size = max((p.offset + p.size for p in kernel.params), default=0)
    block = bytearray(-(-max(size, 1) // 16) * 16)
    for param, given in zip(kernel.params, params, strict=True):
        data = _encode(kernel.name, param, given)
        block[param.offset : param.offset + len(data)] = data
    return np.frombuffer(bytes(block), np.uint8)


def _encode(kernel: str, param: Param, given: int | float | bytes) -> bytes:
    width = bits_of(param.type) // 8
    where = f"{kernel}, {param.name}"
    if isinstance(given, bytes) or param.size != width:
        if not isinstance(given, bytes) or len(given) != param.size:
            raise UsageError(f"a struct of {param.size} bytes is needed", where=where)
        return given
    if param.type in ("f32", "f64"):
        return struct.pack("<f" if param.type == "f32" else "<d", given)
    if not isinstance(given, int | np.integer):
        raise UsageError(f"an integer is needed for a parameter of type {param.type}", where=where)
    return (int(given) % (1 << 8 * width)).to_bytes(width, "little")
