"""Which instructions of a module the library does not know."""

from __future__ import annotations

from lampq_tvm.ptx.errors import UnknownInstructionError
from lampq_tvm.ptx.meanings import FAMILIES
from lampq_tvm.ptx.meanings.registry import find
from lampq_tvm.ptx.module import Instruction, Module


def unknown(module: Module) -> frozenset[str]:
    """Mnemonics, with their modifiers, that have no meaning."""
    assert FAMILIES
    found = {i.mnemonic: i for entry in module.entries.values() for i in entry.instructions}
    return frozenset(mnemonic for mnemonic, instruction in found.items() if not _known(instruction))


def _known(instruction: Instruction) -> bool:
    try:
        find(instruction)
    except UnknownInstructionError:
        return False
    return True
