"""What every operator of the integer network is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lampq_tvm.network.op import Op


@dataclass(frozen=True)
class QOp(Op):
    """An operator of the integer network; its constants are the tensors `{name}.{field}`."""

    @property
    def packed(self) -> Mapping[str, int]:
        """Bits at which the payload stores the codes of a field, by field; every other array is stored as it is."""
        return {}

    @property
    def unweighted(self) -> Mapping[str, int]:
        """Products of activations with each other, by what `inspect` calls them, and the bits of their operands."""
        return {}

    def at_widths(self, w_bits: int, a_bits: int) -> QOp:
        """The operator with other widths of its weights and of the codes they are multiplied with, where it has weights."""
        return self
