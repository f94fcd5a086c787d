"""Operators that one kernel makes: what passes join and what lowering launches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lampq_tvm.network.op import Op
from lampq_tvm.quantize.op import QOp

Kind = TypeVar("Kind", bound=Op)


@dataclass(frozen=True)
class Group:
    """Operators that one kernel makes.

    Attributes:
        root: the operator whose kernel it is.
        before: what the kernel makes of its inputs as it reads them; their values are never stored.
        after: what the kernel makes of its own output, in order.
    """

    root: QOp
    before: tuple[QOp, ...] = ()
    after: tuple[QOp, ...] = ()

    @property
    def ops(self) -> tuple[QOp, ...]:
        """All of them, in the order in which they are computed."""
        return (*self.before, self.root, *self.after)

    def in_front(self, kind: type[Kind]) -> Kind | None:
        """The operator of a kind among those before the root; None where there is none."""
        return next((op for op in self.before if isinstance(op, kind)), None)

    def behind(self, kind: type[Kind]) -> Kind | None:
        """The operator of a kind among those after the root; None where there is none."""
        return next((op for op in self.after if isinstance(op, kind)), None)


def joined(groups: Iterable[Group], root: str, *, before: Sequence[QOp] = (), after: Sequence[QOp] = ()) -> tuple[Group, ...]:
    """The groups with operators taken out of groups of their own and joined to that of `root`."""
    taken = {op.name for op in (*before, *after)}
    kept = [group for group in groups if group.root.name not in taken]
    return tuple(Group(x.root, (*before, *x.before), (*x.after, *after)) if x.root.name == root else x for x in kept)
