"""The recognizer's state: operators found so far, their tensors, and the numbering of their elements."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, fx

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.abstract import NOTHING, Elements
from lampq_tvm.frontend.float_node import FloatNode
from lampq_tvm.frontend.graph import Graph, module_path, operator, parameter_name
from lampq_tvm.network.model import LayerNorm, Linear, Op, PatchEmbed, Regroup, Residual, TakeToken

PASSED_ON = {"view", "reshape", "_unsafe_view", "flatten", "unflatten", "permute", "transpose", "roll"}
PASSED_ON |= {"contiguous", "clone", "dropout"}
PIECES = {"getitem", "unbind", "split", "split_with_sizes", "chunk", "slice", "narrow", "select", "index_select"}
HINT = "recognized are ViT, DeiT, DINOv2, CLIP, SigLIP, BEiT, EVA-02 and Swin built of LayerNorm, attention and MLP"
STREAMS = (PatchEmbed, Residual, LayerNorm, Linear, Regroup, FloatNode)


@dataclass(eq=False)
class Base:
    """A value whose elements have numbers.

    Attributes:
        op: the operator that computes it; None for the image and for the patch grid before positions are added.
        shape: of the value; start: the number of its first element.
        node: the node of the graph that it was made for.
        alive: False once the value was replaced by another one (a bias was folded into it).
    """

    op: Op | None
    shape: tuple[int, ...]
    start: int
    alive: bool = True
    node: fx.Node | None = None

    @property
    def name(self) -> str:
        """The operator's name, `image` for the image."""
        return self.op.name if self.op else "image"

    @property
    def elements(self) -> Elements:
        """The whole value."""
        count = int(torch.Size(self.shape).numel())
        return Elements(torch.arange(self.start, self.start + count).view(self.shape))


Patch = tuple[Base, str, Tensor, Tensor]


@dataclass(frozen=True)
class Saved:
    """What a rule may change in a trace."""

    ops: list[Op]
    tensors: dict[str, Tensor]
    alive: list[bool]
    patch: Patch | None
    pending: list[tuple[Elements, Base]]


class Trace:
    """Recognition in progress over one graph.

    Attributes:
        graph: what is recognized.
        node: the node being interpreted, for names and errors.
        ops: operators found, in execution order; tensors: theirs by name.
        batch: number of images that the graph works on.
    """

    def __init__(self, graph: Graph, image_shape: tuple[int, ...]) -> None:
        self.graph, self.node = graph, graph.image
        self.ops: list[Op] = []
        self.tensors: dict[str, Tensor] = {}
        self.bases: list[Base] = []
        self.batch = image_shape[0]
        self.patch: Patch | None = None
        self.pending: list[tuple[Elements, Base]] = []
        self.image = self.number(None, image_shape)

    def refuse(self, what: str) -> NoReturn:
        """Raise UnsupportedError for the node being interpreted."""
        place = module_path(self.node) or (f"after {self.ops[-1].name}" if self.ops else "")
        raise UnsupportedError(f"{what} is not supported", where=place or self.graph.where, hint=HINT)

    def saved(self) -> Saved:
        """The state before a rule, which may change much before it refuses."""
        alive = [base.alive for base in self.bases]
        return Saved(list(self.ops), dict(self.tensors), alive, self.patch, list(self.pending))

    def restore(self, before: Saved) -> None:
        """Return to an earlier state."""
        self.ops, self.tensors = list(before.ops), dict(before.tensors)
        self.patch, self.pending = before.patch, list(before.pending)
        del self.bases[len(before.alive) :]
        for base, alive in zip(self.bases, before.alive, strict=True):
            base.alive = alive

    def number(self, op: Op | None, shape: tuple[int, ...]) -> Base:
        """Give numbers to the elements of a new value."""
        last = self.bases[-1] if self.bases else None
        start = last.start + int(torch.Size(last.shape).numel()) if last else 0
        self.bases.append(Base(op, shape, start, node=self.node))
        return self.bases[-1]

    def emit(self, op: Op, shape: tuple[int, ...], **tensors: Tensor) -> Base:
        """Append an operator with its tensors (by field name)."""
        op = dataclasses.replace(op, name=self.unique(op.name))
        self.ops.append(op)
        kept = {k: v.to(torch.float32) if v.is_floating_point() else v for k, v in tensors.items()}
        self.tensors |= {f"{op.name}.{k}": v.contiguous() for k, v in kept.items()}
        return self.number(op, shape)

    def unique(self, name: str) -> str:
        """`name`, or with a number behind it if an operator has it already."""
        taken = {op.name for op in self.ops} | {"image"}
        candidates = [name, *(f"{name}_{i}" for i in range(1, len(taken) + 1))]
        return next(c for c in candidates if c not in taken)

    def rebase(self, base: Base) -> Base:
        """New numbers for a value whose operator's tensors just changed; the old value may not be read any more."""
        base.alive = False
        return self.number(base.op, base.shape)

    def is_read(self, base: Base) -> bool:
        """Whether an operator reads this value already."""
        return any(base.name in op.inputs for op in self.ops)

    def base_of(self, ids: Tensor) -> Base | None:
        """The one living value that all of `ids` belong to, or None."""
        if ids.numel() == 0:
            return None
        low, high = int(ids.min()), int(ids.max())
        for base in reversed(self.bases):
            if base.start <= low:
                inside = low != NOTHING and high < base.start + int(torch.Size(base.shape).numel())
                return base if inside and base.alive else None
        return None

    def whole(self, x: Elements) -> Base | None:
        """The value of which `x` is all, in order and unchanged but for its leading axes; None if there is none."""
        base = self.base_of(x.ids)
        if base is None or not x.plain or x.shape[-1] != base.shape[-1] or x.ids.numel() != torch.Size(base.shape).numel():
            return None
        return base if torch.equal(x.ids.flatten(), base.elements.ids.flatten()) else None

    def tokens(self, x: Elements) -> Base:
        """The value that an operator reads when it reads `x`; emits what is still due (patch stream, token choice)."""
        if self.patch is not None and self.touches(x, self.patch[0]):
            return self._patch_stream(x)
        base = self.whole(x)
        if base is None or (len(x.shape) == 2 and len(base.shape) == 3):
            base = self._taken_token(x) or base
        if base is not None:
            return base
        source = self.base_of(x.ids[x.ids != NOTHING])
        if source is None:
            self.refuse("joining values of several operators")
        if not x.plain:
            self.refuse(f"multiplying or adding constants to the output of {source.name}")
        if isinstance(source.op, FloatNode) and x.shape[-1] != source.shape[-1]:
            self.refuse(f"another shape of {source.name}")  # which is another float value's own
        return self._regrouped(x, source)

    def touches(self, x: Elements, base: Base) -> bool:
        """Whether `x` holds elements of `base` among others."""
        high = int(x.ids.max())
        return base.start <= high < base.start + int(torch.Size(base.shape).numel())

    def _patch_stream(self, x: Elements) -> Base:
        """Emit the patch embedding: prefix tokens (constants) in front, patches in row-major order, positions added."""
        assert self.patch is not None
        for known, base in self.pending:
            same = torch.equal(known.ids, x.ids) and torch.equal(_offset(known), _offset(x))
            if same:
                return base
        grid, name, weight, bias = self.patch
        if x.ids.ndim == 4:  # [B, rows, columns, N]
            x = x.moved(lambda t: t.flatten(1, 2))
        prefix = int((x.ids[0, :, 0] == NOTHING).sum()) if x.ids.ndim == 3 else -1
        patches = grid.elements.ids.flatten(2).transpose(1, 2)
        offset = _offset(x)
        in_order = prefix >= 0 and torch.equal(x.ids[:, prefix:], patches) and bool((x.ids[:, :prefix] == NOTHING).all())
        if (
            not in_order
            or isinstance(x.scale, Tensor)
            or x.scale != 1.0
            or not torch.equal(offset, offset[:1].expand_as(offset))
        ):
            self.refuse("this order of patch tokens")
        op = PatchEmbed(name, ("image",), weight.shape[-1], prefix)
        pos = offset[0, prefix:]
        pos = pos[:1] if torch.equal(pos, pos[:1].expand_as(pos)) else pos
        base = self.emit(op, x.shape, weight=weight, bias=bias, pos=pos, prefix=offset[0, :prefix])
        self.pending.append((x, base))
        return base

    def _regrouped(self, x: Elements, source: Base) -> Base:
        """The value after its tokens were put in another order, cut into windows or joined (patch merging)."""
        index = self._index(x, source)
        if index is None:
            return self.refuse(f"regrouping the tokens of {source.name} in this way")
        parts = index.shape[-1]
        alone = not self.is_read(source) and (source.node is None or not _branches(source.node))
        if isinstance(source.op, Linear) and parts == 1 and alone and bool((index >= 0).all()):
            return self._regrouped_before(source, index)
        for other in self.bases:
            known = other.alive and isinstance(other.op, Regroup) and other.op.inputs == (source.name,)
            if known and torch.equal(self.tensors[f"{other.name}.index"], index):
                return other
        return self._emit_regroup(source, index)

    def _emit_regroup(self, source: Base, index: Tensor) -> Base:
        rows = torch.Size(source.shape[1:-1]).numel()
        shape = (source.shape[0], *index.shape[:-1], index.shape[-1] * source.shape[-1])
        return self.emit(Regroup(f"{source.name}.regrouped", (source.name,), rows), shape, index=index)

    def _regrouped_before(self, base: Base, index: Tensor) -> Base:
        """The same with the tokens regrouped before a linear layer, where they are narrower codes: it works on each alone."""
        assert base.op is not None
        source = next(b for b in self.bases if b.alive and b.name == base.op.inputs[0])
        base.alive = False
        self.ops.remove(base.op)
        regrouped = self._emit_regroup(source, index)
        op = dataclasses.replace(base.op, inputs=(regrouped.name,))
        self.ops.append(op)
        return self.number(op, (*regrouped.shape[:-1], base.shape[-1]))

    def _index(self, x: Elements, source: Base) -> Tensor | None:
        """Which token of `source` stands where in `x`: int32 [T', parts] or [windows, T', parts], -1 for none of them.

        None where x is not made of whole tokens, in the same way for every image.
        """
        batch, channels = source.shape[0], source.shape[-1]
        rows = torch.Size(source.shape[1:-1]).numel()
        if len(source.shape) < 3 or x.shape[-1] % channels or x.shape[0] % batch:
            return None
        ids = x.ids.reshape(batch, -1, x.shape[-1] // channels, channels)
        empty = (ids == NOTHING).all(-1)
        first = torch.where(empty, 0, (ids[..., 0] - source.start) // channels)
        wanted = source.start + first[..., None] * channels + torch.arange(channels)
        if not torch.equal(ids, torch.where(empty[..., None], NOTHING, wanted)):
            return None
        local = torch.where(empty, NOTHING, first - torch.arange(batch).view(-1, 1, 1) * rows)
        if not torch.equal(local, local[:1].expand_as(local)) or not -1 <= int(local.min()) <= int(local.max()) < rows:
            return None
        index = local[0].to(torch.int32)
        return index.view(-1, x.shape[1], index.shape[-1]) if len(x.shape) == 3 and x.shape[0] > batch else index

    def _taken_token(self, x: Elements) -> Base | None:
        """The value after choosing one token of a [B, T, C] value."""
        base = self.base_of(x.ids)
        if base is None or not x.plain or len(base.shape) != 3 or x.ids.numel() != base.shape[0] * base.shape[2]:
            return None
        index = (int(x.ids.flatten()[0]) - base.start) // base.shape[2]
        if index >= base.shape[1] or not torch.equal(x.ids.flatten(), base.elements.ids[:, index].flatten()):
            return None
        for other in self.bases:
            if isinstance(other.op, TakeToken) and other.op.inputs == (base.name,) and other.op.index == index:
                return other
        return self.emit(TakeToken(f"{base.name}.token{index}", (base.name,), index), (base.shape[0], base.shape[2]))

    def is_stream(self, base: Base) -> bool:
        """Whether a value can be the residual stream."""
        return isinstance(base.op, STREAMS)

    def depends(self, name: str, on: str) -> bool:
        """Whether the value `name` is computed from the value `on`."""
        inputs = {op.name: op.inputs for op in self.ops}
        queue, seen = [name], {name}
        while queue:
            new = {each for each in inputs.get(queue.pop(), ()) if each not in seen}
            queue += new
            seen |= new
        return on in seen

    def weight_name(self, node: fx.Node, fallback: str) -> str:
        """Name of the layer that the constant `node` is the weight of."""
        name = parameter_name(self.graph, node).removesuffix(".weight")
        return name or module_path(self.node) or fallback


def _branches(node: fx.Node) -> bool:
    """Whether a value is read by more than one node; views of the whole, and those that take pieces, are no readers yet."""
    while len(node.users) == 1:
        (node,) = node.users
        if operator(node) not in PASSED_ON:
            return False
    return any(operator(user) not in PIECES for user in node.users)


def _offset(x: Elements) -> Tensor:
    return torch.zeros(x.shape) if x.offset is None else x.offset


def parent(name: str) -> str:
    """`blocks.0.attn` of `blocks.0.attn.qkv`; the name itself where it has no dot."""
    return name.rpartition(".")[0] or name


def per_channel(value: Tensor) -> Tensor | None:
    """The [C] vector that a [..., C] tensor repeats along all other axes, or None."""
    rows = value.reshape(-1, value.shape[-1])
    return rows[0] if torch.equal(rows, rows[:1].expand_as(rows)) else None
