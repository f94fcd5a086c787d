"""The residual stream of a network whose blocks read it through norms alone: who writes it, who reads it."""

from __future__ import annotations

from dataclasses import dataclass

from lampq_tvm.network.model import ImportedModel, LayerNorm, Linear, MeanTokens, PatchEmbed, Residual, TakeToken
from lampq_tvm.rewrites.channels import linear_readers


@dataclass(frozen=True)
class Stream:
    """Names of operators.

    Attributes:
        patches: patch embeddings that begin it.
        sums: residual sums, and by each the layer whose output it adds.
        norms: norms that read it, and by each the layers that read the norm.
    """

    patches: tuple[str, ...]
    sums: dict[str, str]
    norms: dict[str, tuple[str, ...]]


def residual_stream(model: ImportedModel) -> Stream | None:
    """The stream; None where something else than a LayerNorm in front of layers reads it, or anything but a layer writes it.

    An RMSNorm sees the mean, which cannot be taken out then.
    """
    members: set[str] = set()
    patches, sums, norms = [], dict[str, str](), dict[str, tuple[str, ...]]()
    for op in model.ops:
        carries = bool(op.inputs) and op.inputs[0] in members
        if isinstance(op, PatchEmbed):
            patches.append(op.name)
        elif isinstance(op, Residual) and carries:
            branch = model.op(op.inputs[1])
            if not isinstance(branch, Linear) or model.consumers(branch.name) != [op]:
                return None
            sums[op.name] = branch.name
        elif isinstance(op, LayerNorm) and carries:
            norms[op.name] = tuple(linear_readers(model, op.name))
            if not norms[op.name] or not op.centred:
                return None
            continue
        elif not (isinstance(op, TakeToken | MeanTokens) and carries):
            if members.intersection(op.inputs):
                return None
            continue
        members.add(op.name)
    return None if not norms or members.intersection(model.outputs) else Stream(tuple(patches), sums, norms)
