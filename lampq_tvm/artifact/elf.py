"""The outside of compiled code: an ELF file of the right machine whose parts lie inside it, judged before it is loaded.

The loader maps a library's segments without asking whether the file is long enough, and follows addresses of its dynamic
section: a wrong one ends the process. What the code does is not looked at. Layout: System V ABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct

from lampq_tvm.levels import CPU_ARCHES

CUDA = 190  # e_machine
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
ENTRY = struct.Struct("<qQ")  # of the dynamic section: tag, value
SHARED_OBJECT = 3
LOAD, DYNAMIC = 1, 2
MAX_SEGMENTS = 64
MAX_GROWTH = 64 << 20  # bytes of memory beyond the file's own
# Tags whose value is an address: PLTGOT, HASH, STRTAB, SYMTAB, RELA, INIT, FINI, REL, JMPREL, INIT_ARRAY, FINI_ARRAY,
# GNU_HASH, VERSYM, VERDEF, VERNEED; and their sizes in bytes: PLTRELSZ, RELASZ, STRSZ, INIT_ARRAYSZ, FINI_ARRAYSZ.
ADDRESSES = {3, 4, 5, 6, 7, 12, 13, 17, 23, 25, 26, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE}
SIZES = {2: 23, 8: 7, 10: 5, 27: 25, 28: 26}


def check_library(raw: bytes, arch: str) -> None:
    """ValueError unless it is a whole shared object for `x86` or `aarch64`."""
    segments = _segments(raw, CPU_ARCHES[arch].elf)
    loads = [s for s in segments if s[0] == LOAD]
    dynamics = [s for s in segments if s[0] == DYNAMIC]
    _need(bool(loads) and len(dynamics) == 1, "nothing in it can be loaded")
    end = 0
    for _, _, offset, address, _, filed, mapped, align in loads:
        _need(filed <= mapped and address >= end, "its segments overlap")
        _need(0 < align <= 1 << 21 and not align & (align - 1) and (address - offset) % align == 0, "a segment lies askew")
        end = address + mapped
    _need(end <= len(raw) + MAX_GROWTH, "it asks for too much memory")
    _check_dynamic(raw, loads, dynamics[0], end)


def check_cubin(raw: bytes) -> None:
    """ValueError unless it is a GPU's binary, whole as far as its header says."""
    _need(len(raw) >= HEADER.size, "a binary is too short")
    fields = HEADER.unpack_from(raw)
    _need(fields[0][:6] == b"\x7fELF\x02\x01" and fields[2] == CUDA, "a binary is none of a GPU")
    for offset, size, count in ((fields[5], fields[9], fields[10]), (fields[6], fields[11], fields[12])):
        _need(offset + size * count <= len(raw), "a binary is cut off")


def _segments(raw: bytes, machine: int) -> list[tuple[int, ...]]:
    _need(len(raw) >= HEADER.size, "it is too short for a shared object")
    ident, kind, found, _, _, start, tables, _, _, size, count, row, rows, _ = HEADER.unpack_from(raw)
    _need(ident[:6] == b"\x7fELF\x02\x01" and kind == SHARED_OBJECT, "it is no shared object")
    _need(found == machine, f"it is for another machine ({found})")
    _need(size == SEGMENT.size and 0 < count <= MAX_SEGMENTS, "its program headers are none")
    _need(max(start + size * count, tables + row * rows) <= len(raw), "its headers lie outside of it")
    segments = [SEGMENT.unpack_from(raw, start + size * i) for i in range(count)]
    _need(all(s[2] + s[5] <= len(raw) for s in segments), "a segment lies outside of it")
    return segments


def _check_dynamic(raw: bytes, loads: list[tuple[int, ...]], dynamic: tuple[int, ...], end: int) -> None:
    """ValueError unless the dynamic section is loaded, ends, and points into what is loaded."""
    _, _, offset, address, _, size, _, _ = dynamic
    inside = any(s[3] <= address and address + size <= s[3] + s[5] and address - s[3] == offset - s[2] for s in loads)
    _need(inside and size % ENTRY.size == 0, "its dynamic section is not loaded")
    values: dict[int, int] = {}
    for tag, value in ENTRY.iter_unpack(raw[offset : offset + size]):
        if tag == 0:
            break
        values[tag] = value
    else:
        raise ValueError("its dynamic section does not end")
    _need(all(values[tag] < end for tag in ADDRESSES & values.keys()), "its dynamic section points outside of it")
    sizes = ((values[of], values[tag]) for tag, of in SIZES.items() if tag in values and of in values)
    _need(all(start + length <= end for start, length in sizes), "a table of it lies outside of it")


def _need(condition: bool, otherwise: str) -> None:
    """ValueError unless the condition holds."""
    if not condition:
        raise ValueError(otherwise)
