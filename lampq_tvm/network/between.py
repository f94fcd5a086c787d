"""Places of the float network: what has to be known in front of an operator, and where only one value does."""

from __future__ import annotations

from lampq_tvm.network.model import ImportedModel


def live_before(model: ImportedModel, operator: str | None) -> tuple[str, ...]:
    """Names of the values, in execution order, that are made before an operator and read by it or after it.

    The network can be run on from there with these alone. For None, the end: its outputs.
    """
    names = [op.name for op in model.ops]
    at = len(names) if operator is None else names.index(operator)
    read = {name for op in model.ops[at:] for name in op.inputs} | set(model.outputs)
    return tuple(name for name in ("image", *names[:at]) if name in read)


def block_starts(model: ImportedModel) -> tuple[str, ...]:
    """Operators in front of which a single value is live, in execution order: between two of them lies a block."""
    return tuple(op.name for op in model.ops if len(live_before(model, op.name)) == 1)
